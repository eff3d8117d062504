// SPDX-License-Identifier: BSL-1.0
// Several containers follow one guest, and one of them cannot follow a change: either the change
// did not happen for anyone, or it happened and that one is fenced.
#include <tether/topology/address_space.hpp>

#include <support/listener_recorder.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace scenario_refused_commits {

using namespace tether;
using tether_test::listener_calls;
using tether_test::listener_recorder;
using tether_test::must;

namespace {

std::vector<section> listed(address_space const& guest) {
  const auto view = guest.view();
  return {view->begin(), view->end()};
}

struct three_containers {
  ram_block block = must(ram_block::allocate("ram", 64 * KiB));
  ram_block other = must(ram_block::allocate("other", 64 * KiB));
  address_space guest;
  listener_calls shared;
  std::array<listener_recorder, 3> containers{listener_recorder{"1", shared},
                                              listener_recorder{"2", shared},
                                              listener_recorder{"3", shared}};
  region_id ram = must(guest.place(region::ram(block), guest_address{0}));

  three_containers() {
    for (auto& one : containers) must(guest.add_listener(one));
    shared.clear();
  }
  ~three_containers() {
    for (auto& one : containers) CHECK(guest.remove_listener(one));
    CHECK(block.backing().references() == 1);
    CHECK(guest.remove(ram));
    CHECK(block.free());
    CHECK(other.free());
  }
  three_containers(three_containers const&) = delete;
  three_containers& operator=(three_containers const&) = delete;
};

}  // namespace

TEST_CASE("a change that any one container refuses has happened to none of them") {
  for (std::size_t refusing = 0; refusing < 3; ++refusing) {
    three_containers t;
    const auto before = listed(t.guest);
    t.containers[refusing].refuse_at = 1;
    auto change = t.guest.begin();
    must(change.move(t.ram, guest_address{1 * MiB}));
    const auto placed = must(change.place(region::ram(t.other), guest_address{0}));
    const auto outcome = change.commit();
    REQUIRE_FALSE(outcome);
    CHECK(outcome.error().subject() == std::to_string(refusing + 1));
    CHECK(outcome.error().is(errc::over_budget));
    CHECK_FALSE(outcome.error().rollback_failed());
    CHECK(listed(t.guest) == before);
    for (auto const& one : t.containers) {
      CHECK(one.mapped() == before);
      CHECK(one.breaches.empty());
    }
    CHECK(t.guest.remove(placed).error().is(errc::stale_handle));
    CHECK(t.other.backing().references() == 0);
    must(t.guest.move(t.ram, guest_address{1 * MiB}));
    CHECK(t.containers[refusing].mapped() == listed(t.guest));
  }
}

TEST_CASE("a one-edit change that is refused answers the refusal and changes nothing") {
  three_containers t;
  const auto before = listed(t.guest);
  const auto refused = [&](auto edit) {
    t.containers[1].refuse_at = 1;
    const auto outcome = edit();
    REQUIRE_FALSE(outcome);
    CHECK(outcome.error().subject() == "2");
    CHECK(listed(t.guest) == before);
    for (auto const& one : t.containers) CHECK(one.mapped() == before);
  };
  refused([&] { return t.guest.place(region::mmio("bar", 4096), guest_address{0}, 1); });
  refused([&] { return t.guest.move(t.ram, guest_address{4096}); });
  refused([&] { return t.guest.set_read_only(t.ram, true); });
  refused([&] { return t.guest.set_enabled(t.ram, false); });
  refused([&] { return t.guest.remove(t.ram); });
}

TEST_CASE("where an undo fails too, the error says that something is left behind") {
  three_containers t;
  t.containers[2].refuse_at = 1;
  t.containers[0].refuse_at = 2;
  const auto outcome = t.guest.place(region::ram(t.other), guest_address{1 * MiB});
  REQUIRE_FALSE(outcome);
  CHECK(outcome.error().subject() == "3");
  CHECK(outcome.error().rollback_failed());
  // The container that could not go back fenced the addition; nobody keeps memory that no view
  // mentions.
  for (auto const& one : t.containers) CHECK(one.mapped() == listed(t.guest));
  CHECK(t.other.backing().references() == 0);
}

TEST_CASE("a compulsory change happens, and the report names everyone who could not follow") {
  three_containers t;
  t.containers[0].refuse_at = 1;
  t.containers[2].refuse_at = 1;
  auto change = t.guest.begin(commit_kind::compulsory);
  must(change.move(t.ram, guest_address{1 * MiB}));
  const auto report = must(change.commit());
  REQUIRE(report.fenced.size() == 2);
  CHECK(report.fenced[0].subject() == "1");
  CHECK(report.fenced[1].subject() == "3");
  CHECK(report.removed == 1);
  CHECK(report.added == 1);
  CHECK(t.guest.view()->find(guest_address{1 * MiB}) != nullptr);
  CHECK(t.containers[1].mapped() == listed(t.guest));
  CHECK(t.containers[0].mapped().empty());
  // Fenced containers forget what they do not have, so that the story can end.
  must(t.guest.remove_listener(t.containers[0]));
  must(t.guest.remove_listener(t.containers[2]));
}

}  // namespace scenario_refused_commits
