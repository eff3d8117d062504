// SPDX-License-Identifier: BSL-1.0
// expects: tether\[L1\]: this lifecycle
#include <tether/attach/configuration.hpp>
#include <tether/backend/software_iommu.hpp>

// In order it is, but a group that was not joined cannot be left.
struct forgetful {
  using slot = tether::lifecycle_slot;
  static constexpr tether::plan plan_of(tether::operation what) noexcept {
#ifndef TETHER_CONTROL
    using tether::act;
    if (what == tether::operation::attach_first) {
      return {tether::change::attach, {{{act::raise_holds, act::lower_holds}, {act::replay}, {act::commit}}}};
    }
#endif
    return tether::standard_lifecycle::plan_of(what);
  }
};

constexpr auto holds = tether::configuration<tether::software_iommu, forgetful>::holds;
