// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B13\]: this is nothing that the container's backend attaches: attach a tether::endpoint\{name\}, or the backend's own group_type or endpoint_type
#include <tether/attach/container.hpp>
#include <tether/backend/vfio_type1.hpp>

bool attach_to(tether::container<tether::vfio_type1>& dma);
bool attach_to(tether::container<tether::vfio_type1>& dma) {
#ifdef TETHER_CONTROL
  auto nic = dma.attach(tether::endpoint{"/dev/vfio/12"});
#else
  auto nic = dma.attach("/dev/vfio/12");
#endif
  return nic.has_value() && nic->get() != nullptr && nic->detach().has_value();
}
