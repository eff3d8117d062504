// SPDX-License-Identifier: BSL-1.0
// A device appears in the middle of RAM, moves and goes; memory is plugged beside memory. What is
// told, and in which order, is what decides whether a device's mappings survive.
#include <tether/topology/address_space.hpp>

#include <support/listener_recorder.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cstdint>

namespace scenario_overlays {

using namespace tether;
using tether_test::listener_calls;
using tether_test::listener_recorder;
using tether_test::must;

namespace {

constexpr std::uint64_t page = 4096;

}  // namespace

TEST_CASE(
    "an overlay in the middle of RAM: all removals come before any addition, additions ascend") {
  auto block = must(ram_block::allocate("ram", 16 * page));
  address_space guest;
  const auto ram = must(guest.place(region::ram(block), guest_address{0}));
  listener_recorder listener;
  must(guest.add_listener(listener));
  listener.forget();

  const auto bar = must(guest.place(region::mmio("bar", 2 * page), guest_address{4 * page}, 1));
  CHECK(listener.written() == listener_calls{"begin", "-ram[0,ffff]", "+ram[0,3fff]",
                                             "+bar[4000,5fff]", "+ram[6000,ffff]", "commit"});
  listener.forget();
  must(guest.move(bar, guest_address{8 * page}));
  CHECK(listener.written() == listener_calls{"begin", "-ram[0,3fff]", "-bar[4000,5fff]",
                                             "-ram[6000,ffff]", "+ram[0,7fff]", "+bar[8000,9fff]",
                                             "+ram[a000,ffff]", "commit"});
  listener.forget();
  must(guest.remove(bar));
  CHECK(listener.written() == listener_calls{"begin", "-ram[0,7fff]", "-bar[8000,9fff]",
                                             "-ram[a000,ffff]", "+ram[0,ffff]", "commit"});
  CHECK(listener.breaches.empty());
  must(guest.remove_listener(listener));
  must(guest.remove(ram));
}

TEST_CASE("an overlay touches nothing but what it covers") {
  auto block = must(ram_block::allocate("ram", 16 * page));
  address_space guest;
  for (std::uint64_t i = 0; i < 4; ++i) {
    const auto id = must(guest.place(region::ram(block, block_offset{i * 4 * page}, 2 * page),
                                     guest_address{i * 4 * page}));
    CHECK_FALSE(id == region_id{});
  }
  listener_recorder listener;
  must(guest.add_listener(listener));
  listener.forget();
  const auto over = must(guest.place(region::mmio("over", page), guest_address{4 * page}, 1));
  CHECK(listener.written() == listener_calls{"begin", "-ram[4000,5fff]", "+over[4000,4fff]",
                                             "+ram[5000,5fff]", "commit"});
  must(guest.remove(over));
  must(guest.remove_listener(listener));
}

TEST_CASE(
    "adjacent aliases of one block are one section, so plugging the next one maps both anew") {
  auto block = must(ram_block::allocate("dimm", 8 * page));
  address_space guest;
  const auto first =
      must(guest.place(region::ram(block, block_offset{0}, 4 * page), guest_address{0}));
  listener_recorder listener;
  must(guest.add_listener(listener));
  listener.forget();
  const auto second = must(
      guest.place(region::ram(block, block_offset{4 * page}, 4 * page), guest_address{4 * page}));
  CHECK(listener.written() == listener_calls{"begin", "-dimm[0,3fff]", "+dimm[0,7fff]", "commit"});
  must(guest.remove(first));
  must(guest.remove(second));
  must(guest.remove_listener(listener));
}

TEST_CASE(
    "plugging and unplugging a neighbour of unmergeable memory unmaps nothing that was there") {
  auto block = must(ram_block::allocate("dimm", 12 * page));
  const auto part = [&](std::uint64_t i) {
    return region::ram(block, block_offset{i * 4 * page}, 4 * page).unmergeable();
  };
  address_space guest;
  const auto middle = must(guest.place(part(1), guest_address{4 * page}));
  listener_recorder listener;
  must(guest.add_listener(listener));
  listener.forget();
  const auto above = must(guest.place(part(2), guest_address{8 * page}));
  const auto below = must(guest.place(part(0), guest_address{0}));
  CHECK(listener.written() ==
        listener_calls{"begin", "+dimm[8000,bfff]", "commit", "begin", "+dimm[0,3fff]", "commit"});
  listener.forget();
  must(guest.remove(above));
  must(guest.remove(below));
  CHECK(listener.written() ==
        listener_calls{"begin", "-dimm[8000,bfff]", "commit", "begin", "-dimm[0,3fff]", "commit"});
  CHECK(listener.mapped().size() == 1);
  must(guest.remove(middle));
  must(guest.remove_listener(listener));
}

}  // namespace scenario_overlays
