// SPDX-License-Identifier: BSL-1.0
// A balloon that keeps transparent huge pages whole: frames are gathered over requests, and 2 MiB
// of them go in one call, although each could go at once.
#include <tether/discard/balloon.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/guest_ram.hpp>
#include <support/must.hpp>
#include <support/range_kernel.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

namespace scenario_whole_units_only {

using namespace tether;
using tether_test::frame;
using tether_test::frames_down;
using tether_test::must;
using tether_test::takes_ranges;

namespace {

constexpr std::uint32_t in_a_unit = 512;  // frames of 2 MiB

/// Two units of divided memory, and behind them 2 MiB that are not divided.
struct divided_guest {
  ram_block ram = must(ram_block::allocate<takes_ranges>("ram", 4 * MiB));
  ram_block other = must(ram_block::allocate<takes_ranges>("other", 2 * MiB));
  address_space space;
  discard_gate<> gate;
  balloon<> device;

  explicit divided_guest(balloon_options options) : device{space, gate, options} {
    must(divide(ram, 2 * MiB));
    static_cast<void>(must(space.place(region::ram(ram), guest_address{0})));
    static_cast<void>(must(space.place(region::ram(other), guest_address{4 * MiB})));
    tether_test::mark_all(ram);
    tether_test::mark_all(other);
    takes_ranges::reset();
  }
  discard_report inflate(std::vector<std::uint32_t> const& frames) {
    const auto told = device.inflate(frames);
    CHECK(told.adds_up());
    return told;
  }
  [[nodiscard]] std::uint64_t gone() const { return tether_test::count(ram).gone; }
};

const balloon_options whole{.must_tell_host = true, .whole_units_only = true};

}  // namespace

TEST_CASE("two requests of half a unit each go as one, with the last frame, in one call") {
  divided_guest one{whole};
  const auto first = one.inflate(frames_down(256, 256));
  CHECK(first.waiting == 256);
  CHECK(first.discarded == 0);
  CHECK(first.calls == 0);
  const auto second = one.inflate(frames_down(0, 256));
  CHECK(second.discarded == 256);
  CHECK(second.completed == 256);
  CHECK(second.units_discarded == 1);
  CHECK(second.calls == 1);
  CHECK(takes_ranges::single == 1);
  CHECK(takes_ranges::vectored == 0);
  CHECK(one.gone() == in_a_unit);
}

TEST_CASE("without the option, or where the guest need not tell, each goes at once") {
  for (auto const& options :
       {balloon_options{.must_tell_host = true}, balloon_options{.whole_units_only = true}}) {
    divided_guest one{options};
    CHECK(one.inflate(frames_down(256, 256)).discarded == 256);
    CHECK(one.gone() == 256);
  }
}

TEST_CASE("memory that is not divided goes at once") {
  divided_guest one{whole};
  const auto told = one.inflate({1, 2 * in_a_unit, 2 * in_a_unit + 2, 2 * in_a_unit + 7});
  CHECK(told.waiting == 1);
  CHECK(told.discarded == 3);
  CHECK(told.calls == 1);
  CHECK(one.gone() == 0);
  CHECK(tether_test::count(one.other).gone == 3);
}

TEST_CASE(
    "a frame that the guest takes back keeps its unit, and one of a unit that has gone brings all "
    "of it back") {
  divided_guest one{whole};
  CHECK(one.inflate(frames_down(1, in_a_unit - 1)).waiting == in_a_unit - 1);
  CHECK(one.device.deflate(std::vector<std::uint32_t>{7}).returned == 1);
  CHECK(one.inflate({0}).waiting == 1);
  CHECK(one.gone() == 0);
  CHECK(one.inflate({7}).completed == in_a_unit - 1);
  CHECK(one.ram.backing().population()->discarded_bytes() == 2 * MiB);
  CHECK(one.device.deflate(std::vector<std::uint32_t>{9}).units_populated == 1);
  CHECK(one.ram.backing().population()->discarded_bytes() == 0);
}

TEST_CASE("what a hold inhibits is not gathered") {
  divided_guest one{whole};
  {
    const auto hold = must(one.gate.hold(hold_kind::any, "group 12"));
    CHECK(one.inflate(frames_down(0, in_a_unit)).inhibited == in_a_unit);
  }
  CHECK(one.inflate(frames_down(1, in_a_unit - 1)).waiting == in_a_unit - 1);
  CHECK(one.gone() == 0);
}

}  // namespace scenario_whole_units_only
