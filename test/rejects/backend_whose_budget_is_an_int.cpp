// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B3\]: a backend needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// More than two thousand million mappings would be a negative number.
struct iommu : tether::software_iommu {
#ifndef TETHER_CONTROL
  int free_mappings() const noexcept { return 1; }
#endif
};

using passthrough = tether::container<iommu>;
#include <rejects/program.hpp>
