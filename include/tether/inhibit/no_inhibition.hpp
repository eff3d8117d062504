// SPDX-License-Identifier: BSL-1.0
// Never holds a discard down. Right for a backend that pins nothing, and chosen for it whatever was asked for;
// refused for one that pins (tether[I1]).
#pragma once

#include <tether/inhibit/concepts.hpp>

namespace tether {

struct no_inhibition {
  using slot = inhibition_slot;
  static constexpr bool never_inhibits = true;
};

}  // namespace tether
