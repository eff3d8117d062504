// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B7\]: a backend of single devices needs
#include <support/ungrouped.hpp>

#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

using whole = tether_test::ungrouped<tether::software_iommu>;

// A device that is not bound to its I/O address spaces reaches memory as it likes.
#ifdef TETHER_CONTROL
using backend = whole;
#else
struct backend : whole {
  using whole::whole;
  void bind(device_type&) noexcept {}
};
#endif

using passthrough = tether::container<backend>;

void attach(passthrough& dma, tether_test::lone_endpoint const& nic);
void attach(passthrough& dma, tether_test::lone_endpoint const& nic) {
  auto device = dma.attach(nic, tether::consent::given);
  if (!device) return;
  static_cast<void>(device->get());
  static_cast<void>((*device)->name());
  if (auto leased = device->lease()) static_cast<void>((*leased)->name());
  static_cast<void>(device->detach());
}
