// SPDX-License-Identifier: BSL-1.0
// expects: counterexample<[^;]*{"needless refusal after: attach mediated group 0: take hold; group 0: join container; group 0: map; open
#include <tether/attach/lifecycle/plans.hpp>
#include <tether/proof/proven_safe.hpp>

#include <cstdint>

// Safe it is, but the device agreed to discards and gets none.
struct deaf {
  using slot = tether::inhibition_slot;
  static constexpr std::uint32_t holds(tether::group_counts group) noexcept {
#ifdef TETHER_CONTROL
    return group.attached && !group.needs_no_hold() ? 1 : 0;
#else
    return group.attached ? 1 : 0;
#endif
  }
};
static_assert(tether::proven_safe<tether::proof::abstraction<deaf, tether::standard_lifecycle>>);
