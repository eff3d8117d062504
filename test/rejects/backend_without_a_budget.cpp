// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B3\]: a backend needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// What cannot be mapped is refused before anything is touched, so the budget must be known.
struct iommu : tether::software_iommu {
#ifndef TETHER_CONTROL
  void free_mappings();
#endif
};

using passthrough = tether::container<iommu>;
#include <rejects/program.hpp>
