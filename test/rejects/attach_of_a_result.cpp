// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B13\]: this is nothing that the container's backend attaches: .*the value of a result, not the result
#include <tether/attach/container.hpp>
#include <tether/backend/vfio_type1.hpp>

bool attach_to(tether::container<tether::vfio_type1>& dma);
bool attach_to(tether::container<tether::vfio_type1>& dma) {
  auto group = tether::vfio_group::of("0000:01:00.0");
#ifdef TETHER_CONTROL
  if (!group) return false;
  auto attached = dma.attach(*group);
#else
  auto attached = dma.attach(group);
#endif
  return attached.has_value() && attached->detach().has_value();
}
