// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B4\]: a backend needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// A group is what is attached.
struct iommu : tether::software_iommu {
#ifndef TETHER_CONTROL
  void join();
#endif
};

using passthrough = tether::container<iommu>;
#include <rejects/program.hpp>
