// SPDX-License-Identifier: BSL-1.0
// expects: tether\[L1\]: this lifecycle
#include <tether/attach/configuration.hpp>
#include <tether/backend/software_iommu.hpp>

// Joining can pin; a balloon that is held down only afterwards may have discarded in between.
struct hasty {
  using slot = tether::lifecycle_slot;
  static constexpr tether::plan plan_of(tether::operation what) noexcept {
    tether::plan steps = tether::standard_lifecycle::plan_of(what);
#ifndef TETHER_CONTROL
    if (what == tether::operation::attach_first) {
      const tether::step first = steps.steps[0];
      steps.steps[0] = steps.steps[1];
      steps.steps[1] = first;
    }
#endif
    return steps;
  }
};

constexpr auto holds = tether::configuration<tether::software_iommu, hasty>::holds;
