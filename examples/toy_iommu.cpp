// SPDX-License-Identifier: BSL-1.0
// A container over a backend of one's own (toy_iommu.hpp). Whether that backend is right is judged
// elsewhere, by the laws that tether's own keep: test/laws/toy_iommu.cpp. This prints:
//
//     attached: 2 mappings, 4 free
//     the device wrote this, and the CPU reads it
//     a DMA past the end: DMA write at I/O virtual [0x200000, 0x20002a]: nothing is mapped there
//     a third region: the container refuses it, and 2 mappings stay
//     detached: 0 mappings, 6 free
#include "toy_iommu.hpp"

#include <tether/tether.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>
#include <type_traits>
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

}  // namespace

int main() {
  using tether::KiB, tether::MiB;
  auto ram = must(tether::ram_block::allocate("ram", 2 * MiB));
  tether::address_space guest;
  must(guest.place(tether::region::ram(ram), tether::guest_address{0}));
  must(guest.place(tether::region::ram(ram, tether::block_offset{0}, 64 * KiB),
                   tether::guest_address{8 * MiB}));  // the same memory a second time
  tether::discard_gate<> gate;
  tether::container<toy_iommu, tether::whole_section> dma{
      guest, gate,
      toy_iommu{4 * KiB, {{tether::io_address{0}, tether::io_address{16 * MiB - 1}}}, 6}};
  const auto tell = [&](const char* when) {
    std::printf("%s: %d mappings, %d free\n", when, static_cast<int>(dma.usage().mappings),
                static_cast<int>(dma.backend().free_mappings()));
  };

  auto nic = must(dma.attach(tether::endpoint{"nic"}));
  tell("attached");
  constexpr std::string_view greeting = "the device wrote this, and the CPU reads it";
  must(nic->dma_write(tether::io_address{8 * MiB}, std::as_bytes(std::span{greeting})));
  std::puts(reinterpret_cast<char const*>(ram.data()));
  const auto past = nic->dma_write(tether::io_address{2 * MiB}, std::as_bytes(std::span{greeting}));
  std::printf("a DMA past the end: %s\n",
              past ? "it was not refused" : past.error().sentence().c_str());
  const auto third = guest.place(tether::region::ram(ram), tether::guest_address{15 * MiB});
  std::printf("a third region: %s, and %d mappings stay\n",
              third ? "it was not refused" : "the container refuses it",
              static_cast<int>(dma.usage().mappings));
  must(nic.detach());
  tell("detached");
}
