// SPDX-License-Identifier: BSL-1.0
// Whether a gate would let a discard through now: a permit that is taken and given back at once.
#pragma once

#include <tether/inhibit/discard_gate.hpp>

namespace tether_test {

template <class Threading>
[[nodiscard]] bool may_discard(tether::discard_gate<Threading>& gate,
                               tether::discard_kind kind) noexcept {
  const auto permit = gate.permit(kind);
  return static_cast<bool>(permit);
}

}  // namespace tether_test
