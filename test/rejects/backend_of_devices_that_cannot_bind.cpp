// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B7\]: a backend of single devices needs
#include <tether/attach/container.hpp>
#include <tether/backend/iommufd.hpp>

// A device that is not bound to its I/O address spaces reaches memory as it likes.
#ifdef TETHER_CONTROL
using backend = tether::iommufd;
#else
struct backend : tether::iommufd {
  void bind(device_type&) noexcept {}
};
#endif

using passthrough = tether::container<backend>;

void attach(passthrough& dma, tether::vfio_cdev const& nic);
void attach(passthrough& dma, tether::vfio_cdev const& nic) {
  auto device = dma.attach(nic, tether::consent::given);
  if (!device) return;
  static_cast<void>(device->get());
  static_cast<void>((*device)->name());
  if (auto leased = device->lease()) static_cast<void>((*leased)->name());
  static_cast<void>(device->detach());
}
