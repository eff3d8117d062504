// SPDX-License-Identifier: BSL-1.0
// What a VFIO device records of its attachment to an iommufd. `iommufd.hpp` and its parts write it;
// it is declared here because each device carries it.
//
//     bind:    device --> context       the context's address, the device's id there
//     attach:  device --> page table    the container's own HWPT, or the kernel's choice
#pragma once

#include <tether/backend/vfio/vf_token.hpp>
#include <tether/core/attachment.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace tether::detail {

/// Per-device state of a container that attaches single devices. Unused where groups are attached.
struct iommufd_attachment {
  /// Its IOMMU group (sysfs' iommu_group).
  std::string group{};
  /// How it pins, as found when it was opened.
  pin_class pins = pin_class::pins;
  /// The token that it is bound with.
  std::optional<vf_token> token{};
  /// Identifies the iommufd context that it is bound to; null if it is not bound.
  void const* context = nullptr;
  /// Its id in that context.
  std::uint32_t device = 0;
  /// The id of the container's own HWPT that it uses; 0: the kernel's choice, or not attached.
  std::uint32_t page_table = 0;
};

}  // namespace tether::detail
