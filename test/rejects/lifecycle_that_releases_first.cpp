// SPDX-License-Identifier: BSL-1.0
// expects: tether\[L1\]: this lifecycle
#include <tether/attach/configuration.hpp>
#include <tether/backend/software_iommu.hpp>

// As a well-known detach does it: the hold goes while everything is still mapped.
struct hasty {
  using slot = tether::lifecycle_slot;
  static constexpr tether::plan plan_of(tether::operation what) noexcept {
#ifndef TETHER_CONTROL
    using tether::act;
    if (what == tether::operation::detach_last) {
      return {tether::change::detach, {{{act::lower_holds}, {act::withdraw, act::replay}, {act::leave}, {act::commit}}}};
    }
#endif
    return tether::standard_lifecycle::plan_of(what);
  }
};

constexpr auto holds = tether::configuration<tether::software_iommu, hasty>::holds;
