// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B4\]: a backend needs 'group_type' \(with 'name\(\) const noexcept'\)
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// Errors name a group.
struct anonymous {
  tether::endpoint_group is;
};
struct iommu : tether::software_iommu {
#ifndef TETHER_CONTROL
  using group_type = anonymous;
#endif
};

using passthrough = tether::container<iommu>;
#include <rejects/program.hpp>
