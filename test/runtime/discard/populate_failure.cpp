// SPDX-License-Identifier: BSL-1.0
#include <tether/discard/populate_failure.hpp>

#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/ram_block.hpp>
#include <tether/topology/unit_source.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cstdint>

namespace runtime_discard_populate_failure {

using namespace tether;
using tether_test::must;

namespace {

/// Follows a block's units, and fails `failures` times to map.
struct failing : detail::unit_follower {
  ram_block ram = must(ram_block::allocate("ram", 4 * 64 * KiB));
  discard_gate<> gate;
  std::uint64_t failures = 0;
  std::uint64_t refusals = 0;  // times that it is busy
  std::uint64_t asked = 0;
  std::uint64_t mapped = 0;

  failing();
  /// A unit that is gone comes back, after so many failures to map it, or to be there for it.
  discard_report bring_back_with(auto policy, std::uint64_t fails, std::uint64_t busy) {
    constexpr std::uint64_t which = 1;
    unit_source source{*ram.backing().population()};
    must(source.discard(which, gate.permit(discard_kind::coordinated)));
    asked = mapped = 0;
    failures = fails;
    refusals = busy;
    discard_report report;
    detail::bring_back<decltype(policy)>(
        source, which, [this] { return gate.permit(discard_kind::coordinated); }, report);
    CHECK(ram.backing().population()->is_populated(which));
    CHECK(report.units_populated == 1);
    return report;
  }
};
failing& of(detail::unit_follower& one) { return static_cast<failing&>(one); }
bool used_up(std::uint64_t& times) { return times == 0 || times-- == 0; }
constexpr detail::unit_follower::calls told{
    [](detail::unit_follower& one) noexcept {
      of(one).asked += 1;
      return used_up(of(one).refusals);
    },
    [](detail::unit_follower&) noexcept {},
    [](detail::unit_follower&, extent<block_offset>) noexcept -> result<bool> { return true; },
    [](detail::unit_follower& one, extent<block_offset>) noexcept -> result<bool> {
      if (!used_up(of(one).failures)) return failure(error{"map", errc::over_budget});
      of(one).mapped += 1;
      return true;
    },
    [](detail::unit_follower&, error const&) noexcept {}};
failing::failing() {
  must(divide(ram, 64 * KiB));
  how = &told;
  owner = this;
  where = {block_offset{0}, block_offset{4 * 64 * KiB - 1}};
  must(ram.backing().population()->enrol(*this, nullptr, [] { return result<void>{}; }));
}

}  // namespace

TEST_CASE("by default a container at work is waited for, and another failure fences at once") {
  failing it;
  auto told_so = it.bring_back_with(fence_device{}, 0, 5);
  CHECK(told_so.units_fenced == 0);
  CHECK(it.asked == 6);
  CHECK(it.mapped == 1);
  told_so = it.bring_back_with(fence_device{}, 1, 0);
  CHECK(told_so.units_fenced == 0);  // the attempt to fence could map it
  CHECK(it.asked == 2);
  told_so = it.bring_back_with(fence_device{}, 100, 0);
  CHECK(told_so.units_fenced == 1);
  CHECK(told_so.first_error->is(errc::over_budget));
  CHECK(it.asked == 2);
  CHECK(it.mapped == 0);
}

TEST_CASE("a guest that is held is told only when it succeeds, or the time is over") {
  failing it;
  auto told_so = it.bring_back_with(hold_guest<60'000>{}, 5, 0);
  CHECK(told_so.units_fenced == 0);
  CHECK(it.asked == 6);
  CHECK(it.mapped == 1);
  told_so = it.bring_back_with(hold_guest<20>{}, ~std::uint64_t{0}, 0);
  CHECK(told_so.units_fenced == 1);
  CHECK(it.asked > 2);
}

static_assert(populate_failure_policy<fence_device>);
static_assert(populate_failure_policy<hold_guest<5>>);
static_assert(!populate_failure_policy<int>);

}  // namespace runtime_discard_populate_failure
