// SPDX-License-Identifier: BSL-1.0
#include <tether/discard/detail/guest_memory.hpp>

#include <tether/topology/address_space.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

namespace runtime_discard_detail_guest_memory {

using namespace tether;
using namespace tether::detail;

namespace {

constexpr extent<guest_address> bytes(std::uint64_t first, std::uint64_t size) {
  return {guest_address{first}, guest_address{first + size - 1}};
}

}  // namespace

TEST_CASE("only plain memory may be given back, and only if all of it lies in one section") {
  auto low = ram_block::allocate("low", 1 * MiB).value();
  auto high = ram_block::allocate("high", 1 * MiB).value();
  auto firmware = ram_block::allocate("firmware", 64 * KiB).value();
  address_space guest;
  REQUIRE(guest.place(region::ram(low), guest_address{0}));
  REQUIRE(guest.place(region::mmio("registers", 6 * KiB), guest_address{512 * KiB}, 1));
  REQUIRE(guest.place(region::rom(firmware), guest_address{1 * MiB}));
  REQUIRE(guest.place(region::ram(high).read_only(), guest_address{2 * MiB}));
  REQUIRE(guest.place(region::ram_device(high), guest_address{4 * MiB}));

  const auto view = guest.view();
  detail::guest_memory memory{*view};
  for (int again = 0; again < 2; ++again) {
    section const* const found = memory.find_discardable(bytes(0x3000, 4 * KiB));
    REQUIRE(found != nullptr);
    CHECK(found->memory == &low.backing());
    CHECK(memory.owner()->memory() == &low.backing());
    CHECK(detail::offset_in_block(*found, guest_address{0x3000}) == 0x3000);
    CHECK(memory.find_discardable(bytes(512 * KiB, 4 * KiB)) == nullptr);
    CHECK(memory.find_discardable(bytes(516 * KiB, 4 * KiB)) == nullptr);  // registers, then memory
    CHECK(memory.find_discardable(bytes(510 * KiB, 4 * KiB)) == nullptr);  // memory, then registers
    CHECK(memory.find_discardable(bytes(520 * KiB, 4 * KiB)) != nullptr);
    CHECK(memory.find_discardable(bytes(1 * MiB, 4 * KiB)) == nullptr);
    CHECK(memory.find_discardable(bytes(2 * MiB, 4 * KiB)) == nullptr);
    CHECK(memory.find_discardable(bytes(3 * MiB, 4 * KiB)) == nullptr);
    CHECK(memory.find_discardable(bytes(4 * MiB, 4 * KiB)) == nullptr);
    CHECK(memory.find_discardable(bytes(~std::uint64_t{0} - 4095, 4 * KiB)) == nullptr);
  }
}

TEST_CASE(
    "an offset is counted in the block, behind what its window leaves out and what lies above it") {
  auto ram = ram_block::allocate("ram", 1 * MiB).value();
  address_space guest;
  REQUIRE(
      guest.place(region::ram(ram, block_offset{256 * KiB}, 512 * KiB), guest_address{8 * MiB}));
  REQUIRE(guest.place(region::mmio("hole", 64 * KiB), guest_address{8 * MiB + 64 * KiB}, 1));
  const auto view = guest.view();
  detail::guest_memory memory{*view};
  section const* const behind = memory.find(guest_address{8 * MiB + 132 * KiB});
  REQUIRE(behind != nullptr);
  CHECK(detail::offset_in_block(*behind, guest_address{8 * MiB + 132 * KiB}) ==
        256 * KiB + 132 * KiB);
}

TEST_CASE(
    "the sections that a frame lies in are visited each once, also where it begins in none, and "
    "nothing is for a hole") {
  auto ram = ram_block::allocate("ram", 64 * KiB).value();
  address_space guest;
  REQUIRE(guest.place(region::ram(ram, block_offset{0}, 6 * KiB), guest_address{0}));
  REQUIRE(guest.place(region::mmio("registers", 1 * KiB), guest_address{6 * KiB}));
  REQUIRE(guest.place(region::rom(ram), guest_address{10 * KiB}));
  const auto view = guest.view();
  detail::guest_memory memory{*view};
  const auto firsts = [&](extent<guest_address> what) {
    std::vector<std::uint64_t> seen;
    memory.for_each_in(what, [&](section const& one) { seen.push_back(one.where.first.value); });
    return seen;
  };
  using list = std::vector<std::uint64_t>;
  for (int again = 0; again < 2; ++again) {
    CHECK(firsts(bytes(0, 4 * KiB)) == list{0});
    CHECK(firsts(bytes(4 * KiB, 4 * KiB)) == list{0, 6 * KiB});
    CHECK(firsts(bytes(8 * KiB, 4 * KiB)) == list{10 * KiB});
    CHECK(firsts(bytes(0, 16 * KiB)) == list{0, 6 * KiB, 10 * KiB});
    CHECK(firsts(bytes(7 * KiB, 3 * KiB)) == list{});
    CHECK(firsts(bytes(1 * MiB, 4 * KiB)) == list{});
  }
}

}  // namespace runtime_discard_detail_guest_memory
