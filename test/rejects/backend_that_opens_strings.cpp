// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B5\]: a backend needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

#include <string>

// A string can only be made by allocating, which may fail.
struct iommu : tether::software_iommu {
#ifndef TETHER_CONTROL
  tether::result<device_type> open(joined_group& group, std::string name) noexcept {
    return software_iommu::open(group, name);
  }
#endif
};

using passthrough = tether::container<iommu>;
#include <rejects/program.hpp>
