// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B10\]: this backend finds no device by its name: attach its group_type, or endpoint_type, or give it 'locate\(endpoint const&\) const noexcept'
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// What it has is as tether's own backend has it, but for what finds a device.
struct finds_nothing : tether::software_iommu {
  using software_iommu::software_iommu;
#ifndef TETHER_CONTROL
  void locate() const = delete;
#endif
};

bool attach_by_name(tether::container<finds_nothing>& dma) {
  auto nic = dma.attach(tether::endpoint{"eth0"}, tether::consent::none);
  return nic.has_value() && nic->get() != nullptr && nic->detach().has_value();
}
