// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B13\]: this is nothing that the container's backend attaches: attach a tether::endpoint\{name\}, or the backend's own group_type or endpoint_type
#include <tether/attach/container.hpp>
#include <tether/backend/iommufd.hpp>
#include <tether/backend/vfio_type1.hpp>

bool attach_to(tether::container<tether::iommufd>& dma);
bool attach_to(tether::container<tether::iommufd>& dma) {
#ifdef TETHER_CONTROL
  auto nic = dma.attach(tether::vfio_cdev{"/dev/vfio/devices/vfio0"}, tether::consent::none);
#else
  auto nic = dma.attach(tether::vfio_group{"/dev/vfio/12"}, tether::consent::none);
#endif
  return nic.has_value() && nic->get() != nullptr && nic->detach().has_value();
}
