// SPDX-License-Identifier: BSL-1.0
// Compiled with -fno-exceptions -fno-rtti. It uses every backend, gate, balloon, page reporting and
// virtio-mem, also where this machine only answers why it cannot: what is wrong is an error here,
// too.
#include <tether/proof.hpp>
#include <tether/testing.hpp>
#include <tether/tether.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#if defined(__cpp_exceptions) || defined(__cpp_rtti)
#error "this program shows nothing with exceptions or RTTI"
#endif

namespace {

using namespace tether;

static_assert(!tether::detail::sees_failed_allocations);
static_assert(proven_safe<container<software_iommu>>);

void expect(bool right, const char* what) {
  if (right) return;
  std::printf("not so: %s\n", what);
  std::exit(EXIT_FAILURE);
}
template <class T>
T must(result<T> answer) {
  if (!answer) std::puts(answer.error().sentence().c_str());
  expect(answer.has_value(), "an operation succeeds");
  if constexpr (!std::is_void_v<T>) return std::move(*answer);
}

struct machine {
  ram_block ram = must(ram_block::allocate("ram", 4 * MiB));
  address_space guest{};
  discard_gate<> gate{};
  region_id placed = must(guest.place(region::ram(ram), guest_address{0}));
};

/// Maps, moves bytes, inhibits and discards, where there is such a backend.
template <class Backend, class... Policies>
void use(Backend backend, bool pins) {
  machine vm;
  balloon frames{vm.guest, vm.gate};
  page_reporting reports{vm.guest, vm.gate};
  container<Backend, Policies...> dma{vm.guest, vm.gate, std::move(backend)};
  const std::array<std::uint32_t, 3> numbers{9, 8, 7};
  expect(frames.inflate(numbers).discarded == 3, "the balloon discards while nothing is attached");
  auto group = must(dma.attach(endpoint_group{"nics", {{"eth0", pin_class::pins}}}));
  auto eth0 = must(group.open("eth0"));
  expect(frames.inflate(numbers).inhibited == (pins ? 3 : 0), "pinned frames stay");
  constexpr std::string_view greeting = "as the device wrote it";
  must(eth0->dma_write(io_address{7 * 4096}, std::as_bytes(std::span{greeting})));
  expect(std::ranges::equal(std::as_bytes(std::span{greeting}),
                            std::span{vm.ram.data() + 7 * 4096, greeting.size()}),
         "the CPU sees what the device wrote");
  expect(dma.attach(endpoint_group{"nics", {{"eth0", pin_class::pins}}})
             .error()
             .is(errc::already_there),
         "a group is attached once");
  auto other = must(ram_block::allocate("dimm", 2 * MiB));
  const auto dimm = must(vm.guest.place(region::ram(other), guest_address{GiB}));
  must(vm.guest.remove(dimm));
  must(group.detach());
  expect(frames.inflate(numbers).discarded == 3, "the balloon is let in again");
}

/// Compiles whole, and on most machines says why there is none.
void ask_the_kernel() {
  machine vm;
  container<vfio_type1, fixed_block<2 * MiB>, audited> groups{vm.guest, vm.gate};
  auto attached = groups.attach(vfio_group{"/dev/vfio/no such group"});
  expect(!attached && !attached.error().sentence().empty(), "an unknown group is refused");
  expect(!vfio_group::of("no such device"), "an unknown device is refused");
  if (auto context = iommufd_context::open()) {
    if (auto backend = iommufd::open(*context)) {
      container<iommufd> devices{vm.guest, vm.gate, std::move(*backend)};
      expect(!devices.attach(vfio_cdev{"/dev/vfio/devices/none"}), "an unknown node is refused");
    }
  } else {
    std::puts(context.error().sentence().c_str());
  }
}

void plug_and_unplug() {
  auto block = must(ram_block::allocate("dimm", 8 * MiB));
  address_space guest;
  discard_gate<> gate;
  must(divide(block, 2 * MiB));
  must(guest.place(region::ram(block), guest_address{GiB}));
  const auto memory = must(virtio_mem<>::create("dimm", block, guest_address{GiB}, gate));
  container<software_iommu, fixed_block<2 * MiB>> dma{guest, gate, software_iommu{}};
  auto group = must(dma.attach(endpoint_group{"nics", {{"eth0", pin_class::pins}}}));
  expect(memory->config().plugged_size == 0, "nothing is plugged at first");
  must(group.detach());
}

}  // namespace

int main() {
  use<software_iommu>(software_iommu{}, false);
  use<recording<software_iommu>, largest_page>(recording<software_iommu>{software_iommu{}}, false);
  ask_the_kernel();
  plug_and_unplug();
  if (auto rings = io_uring_buffers::open()) {
    use<io_uring_buffers, inhibit_per_device>(std::move(*rings), true);
  } else {
    std::puts(rings.error().sentence().c_str());
  }
}
