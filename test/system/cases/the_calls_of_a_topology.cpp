// SPDX-License-Identifier: BSL-1.0
// What a real kernel is asked for a guest with two blocks of RAM, of which one is plugged and
// unplugged while a device is attached: the ioctls of a program written by hand, in its order, and
// no other. Both run here, and each request of both is told by a tracing parent.
// tier: 2
// machine: -device edu
#include <support/system_calls.hpp>
#include <system/in_machine.hpp>

#include <cstdio>
#include <linux/vfio.h>
#include <memory>
#include <sys/ioctl.h>
#include <sys/mman.h>

namespace system_the_calls_of_a_topology {

using namespace in_machine;
using tether_test::ioctls_of;
namespace iommufd_uapi = tether::detail::iommufd_uapi;

namespace {

constexpr std::uint64_t low = 0;
constexpr std::uint64_t high = 16 * MiB;
constexpr std::uint64_t bytes = 2 * MiB;

/// In hexadecimal, as headers and strace show them.
std::string in_words(std::vector<std::uint64_t> const& requests) {
  std::string text;
  for (const auto one : requests) {
    std::array<char, 16> number{};
    std::snprintf(number.data(), number.size(), " %#llx", static_cast<unsigned long long>(one));
    text += number.data();
  }
  return text;
}

/// A file whose ioctls must succeed.
class file {
 public:
  explicit file(std::string const& path) : file{::open(path.c_str(), O_RDWR | O_CLOEXEC)} {}
  explicit file(int opened) : number_{opened} { require(opened >= 0); }
  file(file const&) = delete;
  file& operator=(file const&) = delete;
  ~file() { ::close(number_); }
  template <class Argument>
  int ask(unsigned long request, Argument argument) const {
    const int answer = ::ioctl(number_, request, argument);
    require(answer >= 0);
    return answer;
  }
  [[nodiscard]] int number() const noexcept { return number_; }

 private:
  static void require(bool fine) {
    if (!fine) ::_exit(2);  // of the traced child
  }
  int number_;
};

std::byte* host_memory() {
  void* const at =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) ::_exit(2);
  return static_cast<std::byte*>(at);
}

void type1_by_hand(std::string const& address, std::string const& group_path) {
  std::byte* const memory[] = {host_memory(), host_memory()};
  const file group{group_path};
  vfio_group_status status{.argsz = sizeof status, .flags = 0};
  group.ask(VFIO_GROUP_GET_STATUS, &status);
  const file container{"/dev/vfio/vfio"};
  container.ask(VFIO_GET_API_VERSION, 0);
  container.ask(VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU);
  const int inside = container.number();
  group.ask(VFIO_GROUP_SET_CONTAINER, &inside);
  container.ask(VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU);
  // which addresses it reaches, in which pages, and how many mappings there may be
  alignas(8) std::array<std::byte, 512> info{};
  const std::uint32_t room = info.size();
  std::memcpy(info.data(), &room, sizeof room);
  container.ask(VFIO_IOMMU_GET_INFO, info.data());
  const auto map = [&](std::byte* at, std::uint64_t iova) {
    vfio_iommu_type1_dma_map request{};
    request.argsz = sizeof request;
    request.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
    request.vaddr = reinterpret_cast<std::uintptr_t>(at);
    request.iova = iova;
    request.size = bytes;
    container.ask(VFIO_IOMMU_MAP_DMA, &request);
  };
  const auto unmap = [&](std::uint64_t iova) {
    vfio_iommu_type1_dma_unmap request{};
    request.argsz = sizeof request;
    request.iova = iova;
    request.size = bytes;
    container.ask(VFIO_IOMMU_UNMAP_DMA, &request);
  };
  map(memory[0], low);
  {
    const file device{group.ask(VFIO_GROUP_GET_DEVICE_FD, address.c_str())};
    // does one more fit?
    container.ask(VFIO_IOMMU_GET_INFO, info.data());
    map(memory[1], high);
    unmap(high);
  }
  unmap(low);
  group.ask(VFIO_GROUP_UNSET_CONTAINER, 0);
}

void iommufd_by_hand(std::string const& node) {
  std::byte* const memory[] = {host_memory(), host_memory()};
  const file context{"/dev/iommu"};
  const auto ask = [](file const& of, auto const& request, auto argument) {
    of.ask(request.number, &argument);
    return argument;
  };
  const auto ioas = ask(context, iommufd_uapi::allocate_ioas, iommufd_uapi::new_ioas{}).ioas;
  const file device{node};
  const auto bound = ask(device, iommufd_uapi::bind_device,
                         iommufd_uapi::device_binding{.iommufd = context.number()});
  const auto table = ask(context, iommufd_uapi::allocate_page_table,
                         iommufd_uapi::new_page_table{.device = bound.device, .ioas = ioas});
  ask(device, iommufd_uapi::attach_device,
      iommufd_uapi::device_attachment{.page_table = table.page_table});
  std::array<iommufd_uapi::iova_range, 16> ranges{};
  ask(context, iommufd_uapi::read_limits,
      iommufd_uapi::iova_limits{.ioas = ioas,
                                .count = ranges.size(),
                                .ranges = reinterpret_cast<std::uintptr_t>(ranges.data())});
  const auto map = [&](std::byte* at, std::uint64_t iova) {
    ask(context, iommufd_uapi::map,
        iommufd_uapi::memory_mapping{.flags = iommufd_uapi::at_this_iova |
                                              iommufd_uapi::device_may_write |
                                              iommufd_uapi::device_may_read,
                                     .ioas = ioas,
                                     .host = reinterpret_cast<std::uintptr_t>(at),
                                     .length = bytes,
                                     .iova = iova});
  };
  const auto unmap = [&](std::uint64_t iova) {
    ask(context, iommufd_uapi::unmap,
        iommufd_uapi::unmapping{.ioas = ioas, .iova = iova, .length = bytes});
  };
  map(memory[0], low);
  map(memory[1], high);
  unmap(high);
  unmap(low);
  ask(device, iommufd_uapi::detach_device, iommufd_uapi::device_detachment{});
  ask(context, iommufd_uapi::destroy, iommufd_uapi::object{.id = table.page_table});
  ask(context, iommufd_uapi::destroy, iommufd_uapi::object{.id = ioas});
}

/// A guest whose first block is in place.
template <class Backend>
struct guest_with {
  template <class... Arguments>
  explicit guest_with(Arguments&&... arguments)
      : dma{guest, gate, Backend{std::forward<Arguments>(arguments)...}} {
    static_cast<void>(must(guest.place(region::ram(first), guest_address{low})));
  }
  void plug_and_unplug() {
    const region_id placed = must(guest.place(region::ram(second), guest_address{high}));
    must(guest.remove(placed));
  }
  ram_block first = must(ram_block::allocate("first", bytes));
  ram_block second = must(ram_block::allocate("second", bytes));
  address_space guest;
  discard_gate<> gate;
  container<Backend> dma;
};

}  // namespace

TEST_CASE("type1: attach, open, plug, unplug, close and detach") {
  const std::string address = edu_address();
  const vfio_group group = group_of(address);
  const auto by_hand =
      ioctls_of([] { return 0; }, [&](int) { type1_by_hand(address, std::string{group.name()}); });
  const auto by_tether = ioctls_of([] { return std::make_unique<guest_with<vfio_type1>>(); },
                                   [&](auto& vm) {
                                     auto joined = must(vm->dma.attach(group));
                                     auto device = must(joined.open(address));
                                     vm->plug_and_unplug();
                                     must(device.close());
                                     must(joined.detach());
                                   });
  REQUIRE(by_hand.has_value());
  REQUIRE(by_tether.has_value());
  CHECK(by_hand->size() == 13);
  CHECK(in_words(*by_tether) == in_words(*by_hand));
}

TEST_CASE("iommufd: attach, plug, unplug and detach") {
  const vfio_cdev node = must(vfio_cdev::of(edu_address()));
  const auto by_hand = ioctls_of([] { return 0; }, [&](int) { iommufd_by_hand(node.path()); });
  auto by_tether =
      ioctls_of([] { return 0; },
                [&](int) {
                  guest_with<iommufd> vm{must(iommufd::open(must(iommufd_context::open())))};
                  auto device = must(vm.dma.attach(node));
                  vm.plug_and_unplug();
                  must(device.detach());
                });
  REQUIRE(by_hand.has_value());
  REQUIRE(by_tether.has_value());
  CHECK(by_hand->size() == 12);
  // What it answers is always the kernel's word: it reads the limits when there is no device yet,
  // and when there is none any more. And who shares the context hears of what goes: it unmaps
  // before it destroys.
  REQUIRE(by_tether->size() == by_hand->size() + 3);
  const auto take_out = [&](std::size_t at, unsigned long request) {
    CHECK((*by_tether)[at] == request);
    by_tether->erase(by_tether->begin() + static_cast<std::ptrdiff_t>(at));
  };
  take_out(13, iommufd_uapi::unmap.number);
  take_out(12, iommufd_uapi::read_limits.number);
  take_out(1, iommufd_uapi::read_limits.number);
  CHECK(in_words(*by_tether) == in_words(*by_hand));
}

}  // namespace system_the_calls_of_a_topology
