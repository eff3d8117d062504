// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B1\]: a backend needs 'static constexpr bool pins'
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// A variable could say otherwise later.
struct iommu : tether::software_iommu {
#ifndef TETHER_CONTROL
  static inline bool pins = false;
#endif
};

using passthrough = tether::container<iommu>;
#include <rejects/program.hpp>
