// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B1\]: a backend needs 'static constexpr bool pins' and
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// What is attached, groups or devices, decides which plans are run.
struct iommu : tether::software_iommu {
#ifndef TETHER_CONTROL
  void unit();
#endif
};

using passthrough = tether::container<iommu>;
#include <rejects/program.hpp>
