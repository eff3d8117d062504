// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/address_space.hpp>
#include <tether/topology/view_guard.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <optional>

namespace runtime_topology_view_guard {

using namespace tether;
using tether_test::must;

TEST_CASE(
    "a reader's view stays as it was over any number of commits, its memory and its names too") {
  auto block = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  const auto id = must(guest.place(region::ram(block).named("below"), guest_address{0}));
  std::optional<view_guard> old{guest.view()};
  const section seen = *(*old)->begin();
  for (int i = 0; i < 100; ++i)
    must(guest.move(id, guest_address{static_cast<std::uint64_t>(i + 1) * MiB}));
  must(guest.remove(id));
  CHECK(guest.view()->empty());
  REQUIRE(old->find(guest_address{0}) != nullptr);
  CHECK(*old->find(guest_address{0}) == seen);
  CHECK(old->find(guest_address{0})->name == "below");
  block.data()[5] = std::byte{1};
  CHECK(reinterpret_cast<std::byte*>(seen.host().value)[5] == std::byte{1});

  CHECK(block.free().error().is(errc::still_in_use));
  const view_guard copy = *old;
  old.reset();
  CHECK(block.free().error().is(errc::still_in_use));
  CHECK(copy->size() == 1);
}

TEST_CASE("a guard may outlive the address space that it came from") {
  auto block = must(ram_block::allocate("ram", 64 * KiB));
  std::optional<address_space> guest{std::in_place};
  const auto id = must(guest->place(region::ram(block), guest_address{0}));
  CHECK_FALSE(id == region_id{});
  std::optional<view_guard> guard{guest->view()};
  guest.reset();
  CHECK(guard->sections().size() == 1);
  CHECK(block.free().error().is(errc::still_in_use));
  guard.reset();
  must(block.free());
}

}  // namespace runtime_topology_view_guard
