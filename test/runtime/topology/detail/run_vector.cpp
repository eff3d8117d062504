// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/run_vector.hpp>

#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/guest_ram.hpp>
#include <support/must.hpp>
#include <support/range_kernel.hpp>

#include <doctest/doctest.h>

#include <cstdint>

namespace runtime_topology_detail_run_vector {

using namespace tether;
using tether::detail::run_vector;
using tether_test::frame;
using tether_test::must;
using tether_test::takes_ranges;

namespace {

extent<block_offset> page_at(std::uint64_t number) {
  return {block_offset{number * frame}, block_offset{number * frame + (frame - 1)}};
}

struct marked_block {
  ram_block ram = must(ram_block::allocate<takes_ranges>("ram", 16 * frame));
  run_vector runs;

  marked_block() {
    tether_test::mark_all(ram);
    takes_ranges::reset();
    for (const std::uint64_t number : {1u, 4u, 9u}) runs.add(ram.backing(), page_at(number));
  }
};

}  // namespace

TEST_CASE("runs go in one call; those that went are no longer in it, those behind a failure are") {
  discard_gate<> gate;
  const auto permit = gate.permit(discard_kind::uncoordinated);
  for (std::size_t failing = 0; failing <= 3; ++failing) {
    CAPTURE(failing);
    marked_block one;
    takes_ranges::failing_range = failing;
    const auto done = one.runs.discard(one.ram.backing(), permit);
    CHECK(done.asked == 1);
    CHECK(done.runs == (failing == 0 ? 3 : failing - 1));
    CHECK(one.runs.size() == 3 - done.runs);
    CHECK(tether_test::count(one.ram).gone == done.runs);
  }
}

TEST_CASE("a run of which the kernel has taken a part is not one that went") {
  discard_gate<> gate;
  const auto permit = gate.permit(discard_kind::uncoordinated);
  marked_block one;
  one.runs.add(one.ram.backing(), {block_offset{11 * frame}, block_offset{15 * frame - 1}});
  takes_ranges::most_bytes = 5 * frame;
  const auto done = one.runs.discard(one.ram.backing(), permit);
  CHECK(done.runs == 3);
  CHECK(one.runs.size() == 1);
  CHECK(tether_test::count(one.ram).gone == 5);
}

TEST_CASE("nothing is asked for without a permit that discards this memory") {
  discard_gate<> gate;
  discard_gate<> other;
  marked_block one;
  REQUIRE(one.ram.backing().guard(gate.id()));
  const auto nothing_goes = [&](discard_permit const& permit) {
    const auto done = one.runs.discard(one.ram.backing(), permit);
    return done.asked == 0 && done.runs == 0 && one.runs.size() == 3;
  };
  CHECK(nothing_goes(other.permit(discard_kind::uncoordinated)));
  CHECK(nothing_goes(gate.permit(discard_kind::coordinated)));
  {
    const auto hold = must(gate.hold(hold_kind::any, "container"));
    CHECK(nothing_goes(gate.permit(discard_kind::uncoordinated)));
  }
  CHECK(takes_ranges::vectored == 0);
  CHECK(tether_test::count(one.ram).gone == 0);
  CHECK(one.runs.discard(one.ram.backing(), gate.permit(discard_kind::uncoordinated)).runs == 3);
  one.ram.backing().unguard();
}

TEST_CASE("nor for what is no whole page of the block, nor behind its end") {
  discard_gate<> gate;
  const auto permit = gate.permit(discard_kind::uncoordinated);
  for (auto const& wrong :
       {extent<block_offset>{block_offset{1}, block_offset{frame}},
        extent<block_offset>{block_offset{0}, block_offset{frame - 2}}, page_at(16)}) {
    marked_block one;
    one.runs.add(one.ram.backing(), wrong);
    CHECK(one.runs.discard(one.ram.backing(), permit).asked == 0);
    CHECK(tether_test::count(one.ram).gone == 0);
  }
}

TEST_CASE("only private memory without a file goes so") {
  CHECK(run_vector::suits(must(ram_block::allocate("ram", 4 * frame)).backing()));
  const auto shared = must(ram_block::allocate("ram", 4 * frame, memory_kind::shared));
  CHECK_FALSE(run_vector::suits(shared.backing()));
}

}  // namespace runtime_topology_detail_run_vector
