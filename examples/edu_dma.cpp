// SPDX-License-Identifier: BSL-1.0
// Drives a real device by DMA: QEMU's edu, passed through. Which interface of the kernel maps the
// guest's memory for it is one template argument: each that this kernel has is shown. test/system
// runs it in machines that have the device; without one it says so, and is skipped.
// tier: 1 2
// machine: -device edu
#include "edu.hpp"

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
#include <unistd.h>
#include <utility>

namespace {

template <class T>
T must(tether::result<T> answer) {
  if (!answer) {
    std::puts(answer.error().sentence().c_str());
    std::exit(EXIT_FAILURE);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*answer);
}

template <class Backend>
bool drive(std::string const& address) {
  constexpr std::uint64_t mailbox_at = 128 * tether::MiB;
  auto ram = must(tether::ram_block::allocate("ram", 4 * tether::MiB));
  auto mailbox =
      must(tether::ram_block::allocate("mailbox", 4 * tether::KiB, tether::memory_kind::shared));
  tether::address_space guest;
  must(guest.place(tether::region::ram(ram), tether::guest_address{0}));
  must(guest.place(tether::region::ram(mailbox), tether::guest_address{mailbox_at}));
  tether::discard_gate<> gate;
  tether::balloon balloon{guest, gate};
  tether::container<Backend, tether::inhibit_per_group, tether::whole_section> dma{
      guest, gate, must(tether::open_backend<Backend>())};

  const std::array<std::uint32_t, 3> frames{9, 8, 7};
  auto tell = [](char const* when, tether::discard_report const& said) {
    std::printf("%-9s %d discarded, %d inhibited\n", when, static_cast<int>(said.discarded),
                static_cast<int>(said.inhibited));
  };
  tell("before:", balloon.inflate(frames));
  auto device = must(dma.attach(tether::endpoint{address}));
  tell("attached:", balloon.inflate(frames));

  bool equal = false;
  {
    auto engine = must(edu::engine<typename Backend::device_type>::start(
        *device, mailbox.data(), tether::io_address{mailbox_at}));
    constexpr std::string_view greeting = "the device wrote this, and the CPU reads it";
    must(engine.dma_write(tether::io_address{7 * 4096}, std::as_bytes(std::span{greeting})));
    std::printf("%.*s\n", static_cast<int>(greeting.size()),
                reinterpret_cast<char const*>(ram.data() + 7 * 4096));
    std::array<std::byte, greeting.size()> read{};
    must(engine.dma_read(tether::io_address{7 * 4096}, read));
    const std::span cpu_sees{ram.data() + 7 * 4096, read.size()};
    equal = std::ranges::equal(read, std::as_bytes(std::span{greeting})) &&
            std::ranges::equal(read, cpu_sees);
    std::puts(equal ? "and the device reads the same" : "but the device reads something else");
  }  // the registers must be unmapped before the device can be closed

  must(device.detach());
  tell("detached:", balloon.inflate(frames));
  return equal;
}

}  // namespace

int main() {
  const auto devices = edu::devices();
  if (devices.empty()) {
    std::puts("skipped: no edu device is bound to vfio-pci here");
    return 77;
  }
  bool well = true;
  if (::access("/dev/vfio/vfio", F_OK) == 0) {
    std::puts("--- vfio_type1");
    well = drive<tether::vfio_type1>(devices.front()) && well;
  }
  if (::access("/dev/iommu", F_OK) == 0) {
    std::puts("--- iommufd");
    well = drive<tether::iommufd>(devices.front()) && well;
  }
  return well ? EXIT_SUCCESS : EXIT_FAILURE;
}
