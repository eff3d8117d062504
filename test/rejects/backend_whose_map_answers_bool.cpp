// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B2\]: a backend needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// An error says what failed, and whether anything was left behind.
struct iommu : tether::software_iommu {
  using software_iommu::map;
#ifndef TETHER_CONTROL
  bool map(tether::mapping const&) noexcept { return true; }
#endif
};

using passthrough = tether::container<iommu>;
#include <rejects/program.hpp>
