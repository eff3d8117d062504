// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B8\]: this backend has a 'map\(mapping const&, file_source\)', a 'pins_now\(\)' or a 'locate\(endpoint const&\)' that would never be asked
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// A group is found, and not which of its devices was meant: `attach(endpoint)` would not be there.
struct finds_groups : tether::software_iommu {
#ifdef TETHER_CONTROL
  tether::result<tether::device_in_group<group_type>> locate(
      tether::endpoint const& device) const noexcept {
    return software_iommu::locate(device);
  }
#else
  tether::result<group_type> locate(tether::endpoint const& device) const noexcept {
    return group_type{device.name, {device}};
  }
#endif
};

using passthrough = tether::container<finds_groups>;
#include <rejects/program.hpp>
