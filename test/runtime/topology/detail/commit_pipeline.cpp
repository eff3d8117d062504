// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/address_space.hpp>
#include <tether/topology/detail/commit_pipeline.hpp>

#include <support/listener_recorder.hpp>
#include <support/must.hpp>
#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace runtime_topology_detail_commit_pipeline {

using namespace tether;
using namespace tether::detail;
using tether_test::must;

namespace {

/// A listener that does what it must not do, in the call of its choice.
struct meddler {
  enum class when { never, begin, add, commit };
  address_space* guest = nullptr;
  when at = when::never;
  void (*act)(meddler&) = nullptr;
  std::size_t seen = 0;

  void meddle(when now) noexcept {
    if (now == at) act(*this);
  }
  void begin(commit_kind) noexcept { meddle(when::begin); }
  void remove(section const&) noexcept {}
  void add(section const&) noexcept { meddle(when::add); }
  result<void> commit() noexcept {
    meddle(when::commit);
    return {};
  }
};

bool stops(meddler::when at, void (*act)(meddler&), bool during_registration) {
  return tether_test::stopped_by([&] {
           address_space guest;
           meddler who{&guest, at, act};
           if (during_registration)
             static_cast<void>(guest.place(region::mmio("first", 16), guest_address{0}));
           static_cast<void>(guest.add_listener(who));
           static_cast<void>(guest.place(region::mmio("second", 16), guest_address{64}));
           static_cast<void>(guest.remove_listener(who));
         }).find("tether[M1]") != std::string::npos;
}

}  // namespace

TEST_CASE("a listener that changes the address space which calls it stops the program") {
  using when = meddler::when;
  for (const bool during_registration : {false, true}) {
    for (const auto at : {when::begin, when::add, when::commit}) {
      CHECK(stops(
          at, [](meddler& it) { static_cast<void>(it.guest->begin()); }, during_registration));
      CHECK(stops(
          at,
          [](meddler& it) {
            static_cast<void>(it.guest->place(region::mmio("x", 1), guest_address{0}));
          },
          during_registration));
      CHECK(stops(
          at, [](meddler& it) { static_cast<void>(it.guest->remove_listener(it)); },
          during_registration));
      CHECK(stops(
          at,
          [](meddler& it) {
            static tether_test::listener_recorder other;
            static_cast<void>(it.guest->add_listener(other));
          },
          during_registration));
    }
  }
}

TEST_CASE(
    "a listener may look at the address space that calls it, and sees what was before the change") {
  address_space guest;
  meddler who{&guest, meddler::when::commit,
              [](meddler& it) { it.seen = it.guest->view()->size(); }};
  must(guest.add_listener(who));
  const auto one = must(guest.place(region::mmio("one", 16), guest_address{0}));
  CHECK(who.seen == 0);
  must(guest.remove(one));
  CHECK(who.seen == 1);
  must(guest.remove_listener(who));
}

TEST_CASE("a listener may change another address space") {
  address_space guest;
  address_space other;
  meddler who{&other, meddler::when::commit, [](meddler& it) {
                static_cast<void>(it.guest->place(region::mmio("copy", 16), guest_address{0}));
              }};
  must(guest.add_listener(who));
  const auto id = must(guest.place(region::mmio("one", 16), guest_address{0}));
  CHECK(other.view()->size() == 1);
  must(guest.remove(id));
  must(guest.remove_listener(who));
}

TEST_CASE("an address space that is destroyed under a listener stops the program") {
  CHECK(tether_test::stopped_by([] {
          tether_test::listener_recorder who;
          address_space guest;
          static_cast<void>(guest.add_listener(who));
        }).find("tether[M3]") != std::string::npos);
}

TEST_CASE(
    "every edit that is published gives the blocks that it concerns a new generation, and no other "
    "block, and no refused edit") {
  struct refuses {
    bool on = false;
    void begin(commit_kind) noexcept {}
    void remove(section const&) noexcept {}
    void add(section const&) noexcept {}
    result<void> commit() noexcept {
      return on ? failure(error{"listener", errc::over_budget}) : result<void>{};
    }
  } listener;
  auto ram = must(ram_block::allocate("ram", 64 * KiB));
  auto other = must(ram_block::allocate("other", 64 * KiB));
  auto hidden = must(ram_block::allocate("hidden", 64 * KiB));
  address_space guest;
  must(guest.add_listener(listener));
  const auto id = must(guest.place(region::ram(ram), guest_address{0}));
  static_cast<void>(must(guest.place(region::ram(other), guest_address{1 * MiB})));
  const auto below = must(guest.place(region::ram(hidden), guest_address{1 * MiB}, -1));
  const auto number = [](ram_block const& of) { return of.backing().generation().number(); };
  const auto changes = [&](auto edit) {
    const std::uint64_t before[]{number(ram), number(other), number(hidden)};
    edit();
    for (auto const* one : {&ram, &other, &hidden})
      CHECK_FALSE(one->backing().generation().edit_under_way());
    return std::string{number(ram) != before[0] ? "ram " : ""} +
           (number(other) != before[1] ? "other " : "") +
           (number(hidden) != before[2] ? "hidden " : "");
  };
  CHECK(changes([&] { must(guest.set_read_only(id, true)); }) == "ram ");
  CHECK(changes([&] { must(guest.set_read_only(id, true)); }) == "");
  CHECK(changes([&] { must(guest.set_read_only(id, false)); }) == "ram ");
  CHECK(changes([&] { must(guest.set_dirty_log(id, true)); }) == "");
  CHECK(changes([&] { must(guest.move(id, guest_address{4 * MiB})); }) == "ram ");
  CHECK(changes([&] { must(guest.set_enabled(id, false)); }) == "ram ");
  CHECK(changes([&] { must(guest.set_enabled(id, true)); }) == "ram ");
  region_id cover{};
  CHECK(changes([&] {
          cover = must(guest.place(region::mmio("registers", 4 * KiB), guest_address{1 * MiB}, 1));
        }) == "other ");
  CHECK(changes([&] { must(guest.remove(cover)); }) == "other ");
  CHECK(changes([&] { must(guest.remove(below)); }) == "hidden ");  // nobody saw it, but it is gone
  CHECK(changes([&] {
          static_cast<void>(
              must(guest.place(region::mmio("far", 4 * KiB), guest_address{8 * MiB})));
        }) == "");
  listener.on = true;
  CHECK(changes([&] { CHECK_FALSE(guest.remove(id).has_value()); }) == "");
  CHECK(changes([&] {
          auto change = guest.begin(commit_kind::compulsory);
          must(change.set_read_only(id, true));
          CHECK(must(change.commit()).fenced.size() == 1);
        }) == "ram ");
  listener.on = false;
  CHECK(changes([&] {
          auto change = guest.begin();
          must(change.remove(id));
          static_cast<void>(
              must(change.place(region::ram(ram).read_only(), guest_address{4 * MiB})));
          // no section differs; but who had the memory may not have it any more
          CHECK(must(change.commit()).removed == 0);
        }) == "ram ");
  CHECK(changes([&] {
          auto change = guest.begin();
          must(change.remove(must(change.place(region::ram(hidden), guest_address{16 * MiB}))));
          static_cast<void>(must(change.commit()));
        }) == "hidden ");
  must(guest.remove_listener(listener));
}

TEST_CASE("a view is known to be the one that is published until another one is") {
  address_space guest;
  const auto first = guest.view();
  CHECK(guest.is_current(first));
  const auto id = must(guest.place(region::mmio("registers", 4 * KiB), guest_address{0}));
  CHECK_FALSE(guest.is_current(first));
  const auto second = guest.view();
  CHECK(guest.is_current(second));
  must(guest.set_enabled(id, true));  // changes nothing
  CHECK(guest.is_current(second));
  must(guest.remove(id));
  CHECK_FALSE(guest.is_current(second));
  CHECK(guest.is_current(guest.view()));
}

}  // namespace runtime_topology_detail_commit_pipeline
