// SPDX-License-Identifier: BSL-1.0
// The life of a balloon beside a device that pins: it works, it is held down, it works again; and
// whoever else wants discards gone or kept has a say in between.
#include <tether/discard/balloon.hpp>
#include <tether/discard/page_reporting.hpp>

#include <support/faulty_kernel.hpp>
#include <support/guest_ram.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstdint>

namespace scenario_balloon_under_a_hold {

using namespace tether;
using tether_test::frames_down;
using tether_test::frames_up;
using tether_test::counts;

TEST_CASE("a balloon stops while a group pins, resumes after it, and makes nothing up") {
  auto ram = ram_block::allocate<faulty_kernel>("ram", 4 * MiB, memory_kind::shared).value();
  tether_test::mark_all(ram);
  address_space guest;
  discard_gate<> gate;
  balloon device{guest, gate};
  page_reporting reporting{guest, gate};
  REQUIRE(guest.place(region::ram(ram), guest_address{0}));
  discard_report all;
  faulty_kernel::reset();

  // Nothing is attached: 1 MiB goes, as Linux would ask for it.
  all += device.inflate(frames_down(0, 256));
  CHECK(tether_test::count(ram) == counts{768, 256});
  CHECK(faulty_kernel::calls() == 1);

  {
    // A group is about to be attached: from here on nothing may go, by either way.
    const auto group = gate.hold(hold_kind::any, "group 12");
    REQUIRE(group);
    all += device.inflate(frames_down(256, 256));
    all += reporting.report(
        std::array{extent<guest_address>{guest_address{2 * MiB}, guest_address{3 * MiB - 1}}});
    // The guest takes some of both kinds back, and uses them.
    all += device.deflate(frames_up(250, 12));
    for (std::uint64_t number = 250; number < 262; ++number)
      tether_test::mark(ram, number * tether_test::frame);
    CHECK(tether_test::count(ram) == counts{774, 250});
    CHECK(faulty_kernel::calls() == 1);
  }

  // It is gone: what was asked for meanwhile stays, what is asked for now goes.
  CHECK(tether_test::count(ram) == counts{774, 250});
  all += device.inflate(frames_up(1000, 24));
  CHECK(tether_test::count(ram) == counts{750, 274});
  CHECK(faulty_kernel::calls() == 2);

  CHECK(all.adds_up());
  CHECK(all.requested == 256 + 256 + 256 + 12 + 24);
  CHECK(all.discarded == 280);
  CHECK(all.inhibited == 512);
  CHECK(all.returned == 12);
}

TEST_CASE("two groups: the balloon resumes when the second has let go, whichever is first") {
  for (const bool first_goes_first : {true, false}) {
    auto ram = ram_block::allocate("ram", 64 * KiB).value();
    tether_test::mark_all(ram);
    address_space guest;
    discard_gate<> gate;
    balloon device{guest, gate};
    REQUIRE(guest.place(region::ram(ram), guest_address{0}));

    auto first = gate.hold(hold_kind::any, "group 12");
    auto second = gate.hold(hold_kind::uncoordinated, "group 13");
    REQUIRE(first);
    REQUIRE(second);
    CHECK(device.inflate(frames_up(0, 1)).inhibited == 1);
    first_goes_first ? first->release() : second->release();
    CHECK(device.inflate(frames_up(0, 1)).inhibited == 1);
    first_goes_first ? second->release() : first->release();
    CHECK(device.inflate(frames_up(0, 1)).discarded == 1);
    CHECK(tether_test::count(ram) == counts{15, 1});
  }
}

}  // namespace scenario_balloon_under_a_hold
