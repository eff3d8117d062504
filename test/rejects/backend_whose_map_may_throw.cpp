// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B2\]: a backend needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// What is rolled back is mapped again.
struct iommu : tether::software_iommu {
  using software_iommu::map;
#ifndef TETHER_CONTROL
  tether::result<void> map(tether::mapping const& what) { return software_iommu::map(what); }
#endif
};

using passthrough = tether::container<iommu>;
#include <rejects/program.hpp>
