// SPDX-License-Identifier: BSL-1.0
// The two facts about an attachment on which everything else depends: what it pins, and what is attached at
// once. Backends state them, containers and the proof act on them.
#pragma once

#include <cstdint>

namespace tether {

/// How an attachment pins host pages (law 1). What cannot be established counts as `pins`.
enum class pin_class : std::uint8_t {
  pins,            ///< everything mapped stays pinned as long as it is attached
  pins_on_demand,  ///< only what a request uses, and only as long: it may agree to discards
};

/// What is attached to the IOMMU at once (law 4).
enum class attach_unit : std::uint8_t {
  group,   ///< a group joins whole, and its devices are opened afterwards (VFIO's own container)
  device,  ///< a device is opened first and joins alone, so that its consent is known before anything can pin (iommufd)
};

}  // namespace tether
