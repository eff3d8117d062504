// SPDX-License-Identifier: BSL-1.0
// The program of the README, which shows it from the first include on: a test compares them.
#include <tether/tether.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

using passthrough =
    // who maps: the kernel pins as it does for VFIO, but needs no hardware and no privileges
    tether::container<tether::io_uring_buffers,
                      tether::inhibit_per_group,  // who holds the balloon down
                      tether::whole_section>;     // how a section is cut into mappings

template <class T>
T must(tether::result<T> answer) {  // whatever fails is an error that prints as one sentence
  if (!answer) {
    std::puts(answer.error().sentence().c_str());
    std::exit(EXIT_FAILURE);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*answer);
}

int main() {
  auto ram = must(tether::ram_block::allocate("ram", 4 * tether::MiB));
  tether::address_space guest;  // the guest's physical memory
  must(guest.place(tether::region::ram(ram), tether::guest_address{0}));
  tether::discard_gate<> gate;  // one for each VM, shared by its containers and its balloons
  tether::balloon balloon{guest, gate};

  auto iommu = tether::io_uring_buffers::open();
  if (!iommu) {
    std::printf("skipped: %s\n", iommu.error().sentence().c_str());
    return 77;  // this kernel or sandbox forbids io_uring
  }
  passthrough dma{guest, gate, std::move(*iommu)};

  // what the guest gives back: numbers of 4 KiB frames
  const std::array<std::uint32_t, 3> frames{9, 8, 7};
  auto tell = [](char const* when, tether::discard_report const& said) {
    std::printf("%-9s %d discarded, %d inhibited\n", when, static_cast<int>(said.discarded),
                static_cast<int>(said.inhibited));
  };
  tell("before:", balloon.inflate(frames));

  const tether::endpoint_group nics{"nics", {{"eth0", tether::pin_class::pins}}};
  auto group = must(dma.attach(nics));  // hold, join, map: from here on the kernel pins the guest
  auto eth0 = must(group.open("eth0"));
  tell("attached:", balloon.inflate(frames));

  constexpr std::string_view greeting = "the device wrote this, and the CPU reads it";
  must(eth0->dma_write(tether::io_address{7 * 4096}, std::as_bytes(std::span{greeting})));
  std::puts(reinterpret_cast<char const*>(ram.data() + 7 * 4096));

  must(group.detach());  // unmap, leave, and only then give the hold back
  tell("detached:", balloon.inflate(frames));
}
