// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B5\]: a backend needs 'device_type'
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// A device is the backend's own type; this one keeps it to itself.
class iommu : public tether::software_iommu {
#ifndef TETHER_CONTROL
  using device_type = tether::software_iommu::device_type;
#endif
};

using passthrough = tether::container<iommu>;
#include <rejects/program.hpp>
