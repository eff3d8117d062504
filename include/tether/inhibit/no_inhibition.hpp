// SPDX-License-Identifier: BSL-1.0
// Never inhibits a discard. For backends that pin nothing, which get it whatever policy was asked
// for; refused for backends that pin (tether[I1]).
#pragma once

#include <tether/inhibit/concepts.hpp>

namespace tether {

struct no_inhibition {
  using slot = inhibition_slot;
  static constexpr bool never_inhibits = true;
};

}  // namespace tether
