// SPDX-License-Identifier: BSL-1.0
// The facts about an attachment on which everything else depends: how it pins, and whether it
// attaches groups or devices. Backends state them, containers and the proof act on them.
#pragma once

#include <tether/version.hpp>

#include <cstdint>

namespace tether {

/// How an attachment pins host pages (law 1). What cannot be established counts as `pins`.
enum class pin_class : std::uint8_t {
  pins,  ///< everything mapped stays pinned for as long as it is attached
  /// only a request's pages are pinned, and only while it runs: it may agree to discards
  pins_on_demand,
};

/// The unit of attachment to the IOMMU (law 4).
enum class attach_unit : std::uint8_t {
  group,  ///< a group joins whole, and its devices are opened afterwards (VFIO's own container)
  /// a device is opened first and joins alone, so that its consent is known before anything can pin
  /// (iommufd)
  device,
};

/// Who waits until a device is used no more: `told` is called once, on whichever thread ends the
/// last use.
struct unused_notice {
  void (*told)(unused_notice&) noexcept;  ///< called when it is unused
};

}  // namespace tether
