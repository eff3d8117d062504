// SPDX-License-Identifier: BSL-1.0
// The calls that a backend gets for units. Concurrency, rollbacks across containers and budgets are
// in scenario/coordinated_discards.cpp.
#include <tether/listen/detail/unit_mapper.hpp>

#include <tether/backend/software_iommu.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/listen/detail/section_mapper.hpp>
#include <tether/testing/recording.hpp>
#include <tether/topology/ram_block.hpp>
#include <tether/topology/unit_source.hpp>

#include <support/divided_ram.hpp>
#include <support/failing_allocation.hpp>
#include <support/must.hpp>
#include <support/other_thread.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace runtime_listen_detail_unit_mapper {

using namespace tether;
using detail::section_plan;
using tether_test::must;

namespace {

constexpr std::uint64_t unit = 256 * KiB;
using block = fixed_block<128 * KiB>;
using backend_type = recording<software_iommu>;

struct watching {
  using slot = observation_slot;
  unsigned divergences = 0;
  std::function<void()> meanwhile{};  // in the midst of the next unmap
  void diverged(error const&) noexcept { ++divergences; }
  void unmapped(extent<io_address>) noexcept {
    if (const auto once = std::exchange(meanwhile, {})) once();
  }
};
using mapper_type = detail::section_mapper<backend_type, block, watching>;
using units_type = detail::unit_mapper<mapper_type, block, std::mutex, detail::section_order>;

struct followed : tether_test::divided_ram {
  journal calls;
  backend_type backend{calls};
  std::mutex mutex;
  mapper_type mapper{backend};
  std::optional<units_type> units;
  section_plan plan;

  /// Shows the memory from unit `first` on.
  explicit followed(bool read_only = false, std::uint64_t first = 0) : divided_ram{4, unit} {
    static_cast<void>(must(backend.join(endpoint_group{"group", {{"nic", pin_class::pins}}})));
    mapper.refresh_sizes();
    units.emplace(mapper, mutex);
    const section what{.where = *extent<guest_address>::of(guest_address{16 * MiB + first * unit},
                                                           (4 - first) * unit),
                       .memory = &ram.backing(),
                       .offset = block_offset{first * unit},
                       .read_only = read_only,
                       .name = "ram"};
    plan = detail::plan_section<block>(what, mapper.sizes());
    calls.clear();
  }
  result<void> map() {
    unmonitored none;
    const std::lock_guard lock{mutex};
    units->sections().begin_change(false);
    auto done = units->map(plan, units_of_it(), none);
    if (done) units->sections().keep(std::vector<section_plan>{});
    return done;
  }
  result<void> unmap() {
    const std::lock_guard lock{mutex};
    return units->unmap(*units->sections().find(plan.what));
  }
  /// The calls since the last time: "+" maps and "-" unmaps, by first and last block of 128 KiB.
  std::string seen() {
    std::string all;
    for (auto const& one : calls.entries()) {
      all += one.what == backend_call::map ? " +" : " -";
      const auto first = (one.where->first.value - 16 * MiB) / (128 * KiB);
      const auto last = (one.where->last.value - 16 * MiB) / (128 * KiB);
      all += std::to_string(first);
      if (last != first) all += ".." + std::to_string(last);
    }
    calls.clear();
    return all;
  }
};

}  // namespace

TEST_CASE("maps block by block what is populated; unmaps whole runs") {
  followed it;
  must(it.discard(1));
  must(it.map());
  CHECK(it.seen() == " +0 +1 +4 +5 +6 +7");
  must(it.populate(1));
  CHECK(it.seen() == " +2 +3");
  must(it.discard(2));
  CHECK(it.seen() == " -4..5");
  must(it.unmap());
  CHECK(it.seen() == " -0..3 -6..7");
  CHECK(it.units->sections().discarded() == 0);
  must(it.unmap());  // it is not followed any more
  CHECK(it.units->sections().discarded() == 0);
  must(it.discard(0));
  CHECK(it.seen().empty());
}

TEST_CASE("what is mapped read-only is unmapped as it was mapped") {
  followed it{true};
  must(it.map());
  CHECK(it.seen() == " +0 +1 +2 +3 +4 +5 +6 +7");
  must(it.unmap());
  CHECK(it.seen() == " -0..1 -2..3 -4..5 -6..7");
}

TEST_CASE("a section is mapped all or nothing, and followed only if it is") {
  for (std::uint64_t number = 1; number <= 8; ++number) {
    CAPTURE(number);
    followed it;
    it.calls.fail_at(backend_call::map, number, error{"map", errc::over_budget});
    CHECK_FALSE(it.map().has_value());
    CHECK(it.mapper.usage() == mapped_usage{});
    CHECK(it.units->sections().empty());
    CHECK(it.units->sections().reserved() == 0);
    CHECK(it.units->sections().discarded() == 0);
    it.seen();
    must(it.discard(0));
    CHECK(it.seen().empty());
  }
  for (std::uint64_t number = 1; number <= 2; ++number) {
    CAPTURE(number);
    followed it;
    must(it.map());
    must(it.discard(1));
    const auto before = it.mapper.usage();
    it.calls.fail_at(backend_call::unmap, number, error{"unmap", errc::not_mapped});
    const auto refused = it.unmap();
    REQUIRE_FALSE(refused.has_value());
    CHECK_FALSE(refused.error().rollback_failed());
    CHECK(it.mapper.usage() == before);
    it.seen();
    must(it.discard(3));
    CHECK(it.seen() == " -6..7");
  }
}

TEST_CASE("what cannot be unmapped whole is mapped again, of a part of the memory, too") {
  followed it{true, 1};
  must(it.discard(3));
  must(it.map());
  CHECK(it.seen() == " +2 +3 +4 +5");
  it.calls.fail_at(backend_call::unmap, 2, error{"unmap", errc::not_mapped});
  const auto refused = it.unmap();
  REQUIRE_FALSE(refused.has_value());
  CHECK_FALSE(refused.error().rollback_failed());
  CHECK(it.mapper.usage().bytes == 2 * unit);
  it.seen();
  SUBCASE("and stays followed") {
    must(it.discard(1));
    CHECK(it.seen() == " -2..3");
  }
  SUBCASE("or is said to have failed") {
    it.calls.fail_at(backend_call::unmap, 2, error{"unmap", errc::not_mapped});
    it.calls.fail_at(backend_call::map, 1, error{"map", errc::over_budget});
    const auto stuck = it.unmap();
    REQUIRE_FALSE(stuck.has_value());
    CHECK(stuck.error().rollback_failed());
  }
}

TEST_CASE("two who discard different units wait for each other: neither is told busy") {
  followed it;
  must(it.map());
  unit_source other{it.units_of_it()};
  std::thread waiting;
  it.mapper.observer().meanwhile = [&] {
    waiting = tether_test::begun_and_given_time(
        [&] { must(other.discard(2, it.gate.permit(discard_kind::coordinated))); });
  };
  must(it.discard(0));
  waiting.join();
  CHECK_FALSE(it.populated(0));
  CHECK_FALSE(it.populated(2));
}

TEST_CASE("out of memory a section is neither mapped nor followed") {
  if (!tether_test::allocations_can_fail) return tether_test::cannot_fail_allocations();
  followed it;
  for (std::uint64_t number = 1;; ++number) {
    tether_test::failing_allocation = number;
    const auto done = it.map();
    tether_test::failing_allocation = 0;
    if (done) break;
    CHECK(done.error().code() == std::errc::not_enough_memory);
    CHECK(it.units->sections().empty());
    CHECK(it.mapper.usage() == mapped_usage{});
    REQUIRE(number < 40);
  }
  CHECK(it.mapper.usage().bytes == 4 * unit);
}

TEST_CASE("names the container to who discards, refuses once it has diverged, and forgets") {
  followed it;
  must(it.map());
  it.units->name("nic container");
  it.calls.fail_at(backend_call::unmap, 1, error{"unmap", errc::not_mapped});
  CHECK(it.discard(0).error().container() == "nic container");
  it.units->diverge(error{"unmap", errc::byte_count_mismatch});
  CHECK(it.units->divergence()->is(errc::byte_count_mismatch));
  CHECK(it.mapper.observer().divergences == 1);
  const auto refused = it.discard(0);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().is(errc::diverged));
  it.units->forget_all();
  CHECK_FALSE(it.units->divergence().has_value());
  it.seen();
  must(it.discard(0));
  CHECK(it.seen().empty());
}

TEST_CASE("while its lock is held, units are busy; who is destroyed is told nothing") {
  followed it;
  must(it.map());
  {
    const std::lock_guard at_work{it.mutex};
    CHECK(is_busy(it.discard(0).error()));
  }
  must(it.discard(0));
  it.units.reset();
  it.seen();
  must(it.discard(1));
  CHECK(it.seen().empty());
}

}  // namespace runtime_listen_detail_unit_mapper
