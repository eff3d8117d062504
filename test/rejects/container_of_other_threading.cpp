// SPDX-License-Identifier: BSL-1.0
// expects: tether\[T1\]: this container, balloon or page reporting and its gate
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

#ifdef TETHER_CONTROL
using passthrough = tether::container<tether::software_iommu, tether::single_threaded>;
#else
using passthrough = tether::container<tether::software_iommu>;
#endif

void attach_to(tether::address_space& guest, tether::discard_gate<tether::single_threaded>& gate);
void attach_to(tether::address_space& guest, tether::discard_gate<tether::single_threaded>& gate) {
  passthrough dma{guest, gate};
}
