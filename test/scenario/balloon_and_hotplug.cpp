// SPDX-License-Identifier: BSL-1.0
// Memory comes and goes under a balloon: what the guest names is looked up at that moment, and
// never remembered.
#include <tether/discard/balloon.hpp>

#include <support/guest_ram.hpp>

#include <doctest/doctest.h>

#include <cstdint>

namespace scenario_balloon_and_hotplug {

using namespace tether;
using tether_test::frames_up;
using tether_test::counts;

TEST_CASE("a balloon follows the guest's map: moved, hidden, made read-only, unplugged") {
  auto ram = ram_block::allocate("ram", 256 * KiB).value();
  auto other = ram_block::allocate("other", 256 * KiB, memory_kind::shared).value();
  tether_test::mark_all(ram);
  tether_test::mark_all(other);
  address_space guest;
  discard_gate<> gate;
  balloon device{guest, gate};

  const auto id = guest.place(region::ram(ram), guest_address{0});
  REQUIRE(id);
  CHECK(device.inflate(frames_up(0, 4)).discarded == 4);

  REQUIRE(guest.move(*id, guest_address{1 * MiB}));
  CHECK(device.inflate(frames_up(0, 8)).not_ram == 8);
  CHECK(device.inflate(frames_up(256, 8)).discarded == 8);
  CHECK(tether_test::count(ram) == counts{56, 8});

  // Another block lies over its upper half: the frames there are the other block's.
  const auto above = guest.place(region::ram(other), guest_address{1 * MiB + 128 * KiB}, 1);
  REQUIRE(above);
  CHECK(device.inflate(frames_up(256 + 28, 8)).calls == 2);
  CHECK(tether_test::count(ram) == counts{52, 12});
  CHECK(tether_test::count(other) == counts{60, 4});

  REQUIRE(guest.set_read_only(*id, true));
  CHECK(device.inflate(frames_up(256 + 16, 4)).not_ram == 4);
  REQUIRE(guest.set_read_only(*id, false));

  REQUIRE(guest.remove(*above));
  CHECK(device.inflate(frames_up(256 + 32, 4)).discarded == 4);
  CHECK(tether_test::count(ram) == counts{48, 16});
  CHECK(tether_test::count(other) == counts{60, 4});

  REQUIRE(guest.remove(*id));
  CHECK(device.inflate(frames_up(256, 64)).not_ram == 64);
  CHECK(ram.free().has_value());
}

}  // namespace scenario_balloon_and_hotplug
