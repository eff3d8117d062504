// SPDX-License-Identifier: BSL-1.0
// What a source does step by step, seen by one who follows its units. The whole, with containers,
// is in scenario/coordinated_discards.cpp.
#include <tether/topology/unit_source.hpp>

#include <tether/inhibit/discard_gate.hpp>

#include <support/guest_ram.hpp>
#include <support/must.hpp>
#include <support/other_thread.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <utility>

namespace runtime_topology_unit_source {

using namespace tether;
using tether_test::must;

namespace {

constexpr std::uint64_t unit = 64 * KiB;

/// Follows all units, and notes whether the memory is there at each call.
struct world : detail::unit_follower {
  ram_block ram = must(ram_block::allocate("ram", 16 * unit));
  discard_gate<> gate;
  std::optional<unit_source> source;
  std::string calls;
  std::string failing;
  std::function<void()> meanwhile{};  // in the midst of the next change

  result<bool> note(char act, extent<block_offset> what) {
    // reading would bring a page in: the kernel is asked whether it is there
    unsigned char present = 0;
    REQUIRE(::mincore(ram.data() + what.first.value, 1, &present) == 0);
    calls += act;
    calls += (present & 1) != 0 ? "there " : "gone ";
    if (const auto once = std::exchange(meanwhile, {})) once();
    if (failing.find(act) == std::string::npos) return true;
    return failure(error{"test", errc::over_budget});
  }
  static world& of(detail::unit_follower& one) { return static_cast<world&>(one); }
  static const detail::unit_follower::calls told;

  world() {
    must(divide(ram, unit));
    tether_test::mark_all(ram);
    how = &told;
    owner = this;
    where = {block_offset{0}, block_offset{16 * unit - 1}};
    source.emplace(*ram.backing().population());
    must(units().enrol(*this, nullptr, [] { return result<void>{}; }));
  }
  [[nodiscard]] population& units() const { return *ram.backing().population(); }
  result<void> discard(std::uint64_t which) {
    calls.clear();
    return source->discard(which, gate.permit(discard_kind::coordinated));
  }
  result<void> populate(std::uint64_t which) {
    calls.clear();
    return source->populate(which, [&] { return gate.permit(discard_kind::coordinated); });
  }
  [[nodiscard]] bool there(std::uint64_t which) {
    unsigned char present = 0;
    REQUIRE(::mincore(ram.data() + which * unit, 1, &present) == 0);
    return (present & 1) != 0;
  }
};

const detail::unit_follower::calls world::told{
    [](detail::unit_follower& one) noexcept {
      return world::of(one).failing.find('(') == std::string::npos;
    },
    [](detail::unit_follower&) noexcept {},
    [](detail::unit_follower& one, extent<block_offset> what) noexcept {
      return world::of(one).note('-', what);
    },
    [](detail::unit_follower& one, extent<block_offset> what) noexcept {
      return world::of(one).note('+', what);
    },
    [](detail::unit_follower& one, error const&) noexcept { world::of(one).calls += "diverged "; }};

}  // namespace

TEST_CASE("unmapped before it is discarded, mapped once it is there") {
  world all;
  must(all.discard(3));
  CHECK(all.calls == "-there ");
  CHECK_FALSE(all.there(3));
  CHECK(all.there(2));
  CHECK(all.there(4));
  CHECK(all.source->wants_gone(3));
  CHECK(all.source->size() == 1);
  CHECK(all.units().discarded_bytes() == unit);
  must(all.discard(3));
  CHECK(all.calls.empty());
  must(all.populate(3));
  CHECK(all.calls == "+there ");
  CHECK(all.source->size() == 0);
  CHECK(all.units().discarded_bytes() == 0);
  must(all.populate(3));
  CHECK(all.calls.empty());
}

TEST_CASE("a unit past the end is refused by its number") {
  world all;
  const auto is_refused = [](error const& why) {
    CHECK(why.is(errc::past_the_end));
    CHECK(why.number() == 16);
  };
  is_refused(all.discard(16).error());
  is_refused(all.populate(16).error());
  is_refused(all.source->populate_or_fence(16).error());
  CHECK(all.calls.empty());
}

TEST_CASE("one source waits while another changes the same unit") {
  world all;
  unit_source other{all.units()};
  const auto permit = [&] { return all.gate.permit(discard_kind::coordinated); };
  std::thread waiting;
  std::string seen;  // of the followers' calls, when the other source was through
  const auto meanwhile = [&](auto act) {
    all.meanwhile = [&all, &waiting, &seen, act] {
      waiting = tether_test::begun_and_given_time([&all, &seen, act] {
        must(act());
        seen = all.calls + "!";
      });
      CHECK(seen.empty());
    };
  };
  SUBCASE("discards") {
    meanwhile([&] { return other.discard(3, permit()); });
    must(all.discard(3));
    waiting.join();
    CHECK(seen == "-there !");
    CHECK(all.units().discarded_bytes() == unit);
    CHECK(other.wants_gone(3));
    must(all.populate(3));
    CHECK(all.calls.empty());
    must(other.populate(3, permit));
    CHECK(all.calls == "+there ");
  }
  SUBCASE("populates") {
    must(all.discard(3));
    meanwhile([&] { return other.discard(3, permit()); });
    must(all.populate(3));
    waiting.join();
    CHECK(seen == "+there -there !");
    CHECK_FALSE(all.there(3));
  }
  SUBCASE("fences") {
    must(all.discard(3));
    all.calls.clear();
    meanwhile([&] { return other.discard(3, permit()); });
    must(all.source->populate_or_fence(3));
    waiting.join();
    CHECK(seen == "+there -there !");
    CHECK_FALSE(all.there(3));
  }
}

TEST_CASE("every failure leads back to where it began") {
  world all;
  all.failing = "-";
  CHECK_FALSE(all.discard(3).has_value());
  CHECK(all.there(3));
  CHECK_FALSE(all.source->wants_gone(3));
  all.failing = "(";
  CHECK(is_busy(all.discard(3).error()));
  CHECK(all.calls.empty());
  CHECK_FALSE(all.source->wants_gone(3));
  all.failing.clear();
  must(all.discard(3));
  all.failing = "+";
  CHECK_FALSE(all.populate(3).has_value());
  CHECK_FALSE(all.there(3));
  CHECK(all.source->wants_gone(3));
  all.failing = "(";
  CHECK(is_busy(all.populate(3).error()));
  CHECK_FALSE(all.there(3));
  CHECK(all.source->wants_gone(3));
}

TEST_CASE("who is busy is named") {
  world all;
  must(all.discard(3));
  all.units().rename(all, "nics");
  all.failing = "(";
  CHECK(all.discard(4).error().container() == "nics");
  CHECK(all.populate(3).error().container() == "nics");
  CHECK(all.source->populate_or_fence(3).error().container() == "nics");
}

TEST_CASE("without a permit that was granted nothing is discarded") {
  world all;
  const auto held = all.gate.hold(hold_kind::any, "nic");
  const auto refused = all.discard(3);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().is(errc::discards_disabled));
  CHECK(all.there(3));
  CHECK(all.calls == "-there +there ");
}

TEST_CASE("a coordinated permit is good for units alone") {
  world all;
  const auto permit = all.gate.permit(discard_kind::coordinated);
  const auto refused = all.ram.discard({block_offset{0}, block_offset{unit - 1}}, permit);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().is(errc::discards_disabled));
  CHECK(all.there(0));
}

TEST_CASE("fenced: the unit is there, whoever cannot map it") {
  for (const auto* failing : {"+", "("}) {
    world all;
    must(all.discard(3));
    all.failing = failing;
    CHECK_FALSE(all.source->populate_or_fence(3).has_value());
    CHECK(all.there(3));
    CHECK(all.units().is_populated(3));
    CHECK_FALSE(all.source->wants_gone(3));
  }
}

TEST_CASE("fenced while a container enrols: the unit is there, and the container is named") {
  world all;
  world late;
  static_cast<void>(must(late.units().withdraw(late, [] { return result<void>{}; })));
  late.units().rename(late, "late");
  must(all.discard(3));
  must(all.units().enrol(late, nullptr, [&]() -> result<void> {
    const auto fenced = all.source->populate_or_fence(3);
    REQUIRE_FALSE(fenced.has_value());
    CHECK(is_busy(fenced.error()));
    CHECK(fenced.error().container() == "late");
    CHECK(all.units().is_populated(3));
    return {};
  }));
  must(all.discard(3));
  CHECK(late.calls == "-there ");
  CHECK(must(all.units().withdraw(late, [] { return result<void>{}; })) == nullptr);
}

TEST_CASE("what a source leaves behind is discarded until somebody populates it") {
  world all;
  must(all.discard(3));
  all.source.reset();
  CHECK_FALSE(all.units().is_populated(3));
  all.source.emplace(all.units());
  CHECK_FALSE(all.source->wants_gone(3));
  must(all.populate(3));
  CHECK(all.units().is_populated(3));
  // and a source may outlive the memory
  static_cast<void>(must(all.units().withdraw(all, [] { return result<void>{}; })));
  all.ram = must(ram_block::allocate("other", unit));
  CHECK(all.source->expired());
}

}  // namespace runtime_topology_unit_source
