// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B2\]: a backend needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// Rollback runs through unmap, so it must not throw.
struct iommu : tether::software_iommu {
#ifndef TETHER_CONTROL
  tether::result<void> unmap(tether::extent<tether::io_address>);
#endif
};

using passthrough = tether::container<iommu>;
#include <rejects/program.hpp>
