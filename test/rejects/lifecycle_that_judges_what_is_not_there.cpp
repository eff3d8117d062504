// SPDX-License-Identifier: BSL-1.0
// expects: tether\[L1\]: this lifecycle
#include <tether/attach/configuration.hpp>
#include <tether/backend/software_iommu.hpp>

// A detach has no device in hand that could be judged.
struct judges_first {
  using slot = tether::lifecycle_slot;
  static constexpr tether::plan plan_of(tether::operation what) noexcept {
    using enum tether::act;
#ifndef TETHER_CONTROL
    if (what == tether::operation::detach_last) return tether::planned(tether::change::detach, {judge, withdraw, leave, commit, lower_holds});
#endif
    return tether::standard_lifecycle::plan_of(what);
  }
};

constexpr auto holds = tether::configuration<tether::software_iommu, judges_first>::holds;
