// SPDX-License-Identifier: BSL-1.0
// RAM is plugged and unplugged, covered and uncovered, and made read-only, while a device is
// attached and running.
// machine: -device edu
#include <system/in_machine.hpp>

namespace system_memory_comes_and_goes {

using namespace in_machine;

namespace {

/// A running device, and what it can reach.
template <class... Policies>
struct running : vm<Policies...> {
  using base = vm<Policies...>;

  running() { std::ranges::fill(std::span{this->ram.data(), this->ram.size()}, std::byte{0x33}); }

  /// Whether a store of the device at `at` arrives at `host`.
  bool writes(std::uint64_t at, std::byte* host) {
    const auto sent = pattern(at / page, ++turn, 64);
    must(dma_engine->dma_write(io_address{at}, sent));
    return std::ranges::equal(std::span{host, sent.size()}, sent);
  }
  /// Whether the device reads at `at` what lies at `host`.
  bool reads(std::uint64_t at, std::byte const* host) {
    std::array<std::byte, 64> seen{};
    must(dma_engine->dma_read(io_address{at}, seen));
    return std::ranges::equal(seen, std::span{host, seen.size()});
  }

  std::string address = edu_address();
  typename base::container_type::attached group = must(this->dma.attach(group_of(address)));
  typename base::container_type::opened device = must(group.open(address));
  std::optional<engine> dma_engine{this->drive(*device)};
  unsigned turn = 0;
};

/// Unmaps the registers, so that everything can be taken down.
template <class Running>
void end(Running& v) {
  v.dma_engine.reset();
  must(v.group.detach());
  CHECK(v.gate.counts() == gate_counts{});
  CHECK(v.dma.usage().mappings == 0);
}

template <class Granularity>
void plug_and_unplug() {
  auto more = must(ram_block::allocate("more", 1 * MiB));
  auto shared = must(ram_block::allocate("shared", 1 * MiB, memory_kind::shared));
  running<inhibit_per_group, Granularity> v;
  for (ram_block* block : {&more, &shared}) {
    const auto mapped_before = v.dma.usage().bytes;
    const auto id = must(v.guest.place(region::ram(*block), guest_address{64 * MiB}));
    CHECK(v.dma.usage().bytes == mapped_before + 1 * MiB);
    CHECK(v.writes(64 * MiB, block->data()));
    CHECK(v.writes(65 * MiB - 64, block->data() + block->size() - 64));
    CHECK(v.reads(64 * MiB + 5 * page, block->data() + 5 * page));
    must(v.guest.remove(id));
    CHECK(v.dma.usage().bytes == mapped_before);
    const std::vector<std::byte> before{block->data(), block->data() + block->size()};
    CHECK(!v.writes(64 * MiB, block->data()));
    CHECK(std::ranges::equal(before, std::span{block->data(), block->size()}));
    must(block->free());  // nothing refers to it any more, neither tether nor the kernel
  }
  CHECK(v.writes(0, v.ram.data()));
  end(v);
}

}  // namespace

TEST_CASE("plugged memory is reached at once, unplugged memory never again") {
  plug_and_unplug<whole_section>();
  plug_and_unplug<fixed_block<64 * KiB>>();
}

TEST_CASE(
    "registers laid over RAM hide exactly their pages from the device, and uncover them again") {
  running<> v;
  const auto registers =
      must(v.guest.place(region::mmio("registers", 2 * page), guest_address{16 * page}, 1));
  CHECK(v.writes(15 * page, v.ram.data() + 15 * page));
  CHECK(!v.writes(16 * page, v.ram.data() + 16 * page));
  CHECK(!v.writes(17 * page, v.ram.data() + 17 * page));
  CHECK(v.writes(18 * page, v.ram.data() + 18 * page));
  must(v.guest.remove(registers));
  CHECK(v.writes(16 * page, v.ram.data() + 16 * page));
  end(v);
}

TEST_CASE("what is read-only the device reads and cannot write, and it follows when that changes") {
  running<> v;
  auto firmware = must(ram_block::allocate("firmware", 64 * KiB));
  std::ranges::copy(pattern(9, 9, 64 * KiB), firmware.data());
  const auto rom = must(v.guest.place(region::rom(firmware), guest_address{32 * MiB}));
  CHECK(v.reads(32 * MiB, firmware.data()));
  CHECK(!v.writes(32 * MiB, firmware.data()));
  CHECK(std::ranges::equal(pattern(9, 9, 64 * KiB), std::span{firmware.data(), firmware.size()}));
  must(v.guest.remove(rom));

  must(v.guest.set_read_only(v.ram_region, true));
  CHECK(!v.writes(4 * page, v.ram.data() + 4 * page));
  CHECK(v.reads(4 * page, v.ram.data() + 4 * page));
  must(v.guest.set_read_only(v.ram_region, false));
  CHECK(v.writes(4 * page, v.ram.data() + 4 * page));
  end(v);
}

}  // namespace system_memory_comes_and_goes
