// SPDX-License-Identifier: BSL-1.0
// expects: tether\[I9\]: an answer is no constant expression
#include <tether/attach/lifecycle/plans.hpp>
#include <tether/proof/proven_safe.hpp>

#include <cstdint>

// Not constexpr: the compiler cannot ask it.
struct asks_later {
  using slot = tether::inhibition_slot;
#ifdef TETHER_CONTROL
  static constexpr std::uint32_t holds(tether::group_counts group) noexcept {
#else
  static std::uint32_t holds(tether::group_counts group) noexcept {
#endif
      return group.attached && !group.needs_no_hold() ? 1 : 0;
}
}
;
static_assert(
    tether::proven_safe<tether::proof::abstraction<asks_later, tether::standard_lifecycle>>);
