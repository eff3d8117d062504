// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B5\]: a backend needs
#include <tether/attach/configuration.hpp>
#include <tether/backend/software_iommu.hpp>

// Whether a device may agree to discards is judged before it is opened.
struct iommu : tether::software_iommu {
#ifndef TETHER_CONTROL
  void classify();
#endif
};

constexpr auto holds = tether::configuration<iommu>::holds;
