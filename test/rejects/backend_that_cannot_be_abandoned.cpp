// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B6\]: a backend needs
#include <tether/attach/configuration.hpp>
#include <tether/backend/software_iommu.hpp>

// After a failed undo a hold is given back only once every pin is proven gone.
struct iommu : tether::software_iommu {
#ifndef TETHER_CONTROL
  tether::result<void> abandon();
#endif
};

constexpr auto holds = tether::configuration<iommu>::holds;
