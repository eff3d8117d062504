// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B6\]: a backend needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// After a failed undo a hold is given back only once every pin is proven gone.
struct iommu : tether::software_iommu {
#ifndef TETHER_CONTROL
  tether::result<void> abandon();
#endif
};

using passthrough = tether::container<iommu>;
#include <rejects/program.hpp>
