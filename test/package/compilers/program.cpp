// SPDX-License-Identifier: BSL-1.0
// What a program uses, over each backend: compiled, not run, by every compiler that is here.
#include <tether/proof.hpp>
#include <tether/testing.hpp>
#include <tether/tether.hpp>

#include <array>
#include <cstdint>
#include <utility>

namespace {

using namespace tether;

template <class Container, class Endpoint>
bool use(Container& dma, Endpoint const& endpoint, address_space& guest) {
  auto attached = dma.attach(endpoint);
  auto ram = ram_block::allocate("ram", 2 * MiB);
  if (!attached || !ram || !guest.place(region::ram(*ram), guest_address{0})) return false;
  return attached->detach().has_value();
}

}  // namespace

int main() {
  address_space guest;
  discard_gate<> gate;
  balloon frames{guest, gate};
  page_reporting reports{guest, gate};
  const std::array<std::uint32_t, 1> numbers{9};
  frames.inflate(numbers);

  container<vfio_type1, fixed_block<2 * MiB>, audited> groups{guest, gate};
  container<recording<software_iommu>, largest_page> emulated{guest, gate,
                                                              recording{software_iommu{}}};
  bool well = use(groups, vfio_group{"/dev/vfio/12"}, guest);
  well &= use(emulated, endpoint_group{"nics", {{"eth0", pin_class::pins}}}, guest);
  auto context = iommufd_context::open();
  if (!context) return 77;
  if (auto backend = iommufd::open(*context)) {
    container<iommufd> devices{guest, gate, std::move(*backend)};
    well &= use(devices, vfio_cdev{"/dev/vfio/devices/vfio0"}, guest);
  }
  static_assert(proven_safe<container<iommufd, inhibit_per_device>>);
  return well ? 0 : 1;
}
