// SPDX-License-Identifier: BSL-1.0
// Law 15: Linux 6.1 pins the shared zero page for a read-only mapping of private memory that nobody
// has touched. The CPU's first write then goes to another page, and no balloon is needed for the
// two to part ways. Linux 6.12 does not.
// tier: 1 2
// machine: -device edu
#include <system/in_machine.hpp>

namespace system_untouched_read_only {

using namespace in_machine;

TEST_CASE(
    "without tether it depends on the kernel whether the device sees what the CPU writes into "
    "untouched read-only memory") {
  auto ram = must(ram_block::allocate("ram", 16 * page));
  auto mailbox = must(ram_block::allocate("mailbox", page, memory_kind::shared));
  vfio_type1 iommu;
  const auto address = edu_address();
  auto group = must(iommu.join(group_of(address)));
  must(iommu.map({{io_address{0}, io_address{ram.size() - 1}}, ram.host(), access::read}));
  must(iommu.map({{io_address{mailbox_at}, io_address{mailbox_at + page - 1}},
                  mailbox.host(),
                  access::read_write,
                  memory_kind::shared}));
  auto device = must(iommu.open(group, address));
  {
    auto dma = must(engine::start(device, mailbox.data(), io_address{mailbox_at}));
    std::ranges::fill(std::span{ram.data(), ram.size()}, std::byte{0xaa});
    std::array<std::byte, 64> seen{};
    seen.fill(std::byte{0x77});
    must(dma.dma_read(io_address{0}, seen));
    const auto expected = kernel_is("6.1") ? std::byte{0} : std::byte{0xaa};
    CHECK(std::ranges::all_of(seen, [&](std::byte one) { return one == expected; }));
  }
  must(iommu.close(device));
  must(iommu.leave(group));
}

TEST_CASE(
    "a read-only section of untouched or ballooned private memory is coherent, and so is shared "
    "memory") {
  auto untouched = must(ram_block::allocate("untouched", 64 * KiB));
  auto ballooned = must(ram_block::allocate("ballooned", 64 * KiB));
  auto shared = must(ram_block::allocate("shared", 64 * KiB, memory_kind::shared));
  vm<inhibit_per_device, fixed_block<64 * KiB>> v;
  std::ranges::fill(std::span{ballooned.data(), ballooned.size()}, std::byte{0x11});
  const auto at = must(v.guest.place(region::ram(ballooned), guest_address{33 * MiB}));
  CHECK(v.balloon.inflate(frame_numbers(33 * MiB / page, 16)).discarded == 16);
  must(v.guest.set_read_only(at, true));
  static_cast<void>(must(v.guest.place(region::rom(untouched), guest_address{32 * MiB})));
  static_cast<void>(must(v.guest.place(region::rom(shared), guest_address{34 * MiB})));

  const auto address = edu_address();
  auto group = must(v.dma.attach(group_of(address)));
  auto device = must(group.open(address));
  {
    auto dma = v.drive(*device);
    std::uint64_t where = 32 * MiB;
    for (ram_block const* block : {&untouched, &ballooned, &shared}) {
      const auto before = frames_behind(*block);
      std::ranges::fill(std::span{block->data(), block->size()}, std::byte{0xaa});
      if (block->kind() == memory_kind::private_anonymous) CHECK(frames_behind(*block) == before);
      for (const std::uint64_t offset : {std::uint64_t{0}, 64 * KiB - 64}) {
        std::array<std::byte, 64> seen{};
        must(dma.dma_read(io_address{where + offset}, seen));
        CHECK(std::ranges::all_of(seen, [](std::byte one) { return one == std::byte{0xaa}; }));
      }
      where += 1 * MiB;
    }
  }
  must(group.detach());
}

}  // namespace system_untouched_read_only
