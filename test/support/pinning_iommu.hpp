// SPDX-License-Identifier: BSL-1.0
// A software IOMMU that counts as one that pins, so that holds are needed.
#pragma once

#include <tether/backend/software_iommu.hpp>

namespace tether_test {

struct pinning_iommu : tether::software_iommu {
  pinning_iommu() = default;
  static constexpr bool pins = true;
};

}  // namespace tether_test
