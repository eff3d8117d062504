// SPDX-License-Identifier: BSL-1.0
// expects: never_reached<.*take hold fails
#include <tether/attach/lifecycle/plans.hpp>
#include <tether/proof/proven_safe.hpp>

#include <cstdint>

// A policy that never holds, over a backend that pins nothing: nothing goes wrong, but no hold was
// ever refused either, so nothing is shown. Who needs no holds says so (`never_inhibits`).
struct silent {
  using slot = tether::inhibition_slot;
  static constexpr std::uint32_t holds(tether::group_counts) noexcept { return 0; }
};
struct outspoken {
  using slot = tether::inhibition_slot;
  static constexpr bool never_inhibits = true;
};
#ifdef TETHER_CONTROL
static_assert(
    tether::proven_safe<tether::proof::abstraction<outspoken, tether::standard_lifecycle, false>>);
#else
static_assert(
    tether::proven_safe<tether::proof::abstraction<silent, tether::standard_lifecycle, false>>);
#endif
