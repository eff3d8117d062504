// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B4\]: a backend needs 'group_type'
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// A group that is not joined yet and one that is are types of their own.
class iommu : public tether::software_iommu {
#ifndef TETHER_CONTROL
  using joined_group = tether::software_iommu::joined_group;
#endif
};

using passthrough = tether::container<iommu>;
#include <rejects/program.hpp>
