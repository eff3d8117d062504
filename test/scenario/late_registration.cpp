// SPDX-License-Identifier: BSL-1.0
// A container attaches to a guest that is running: it is told of all memory first, which may take
// seconds of pinning, while the guest's map goes on changing.
#include <tether/topology/address_space.hpp>

#include <support/listener_recorder.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace scenario_late_registration {

using namespace tether;
using tether_test::listener_calls;
using tether_test::listener_recorder;
using tether_test::must;

namespace {

std::vector<section> listed(address_space const& guest) {
  const auto view = guest.view();
  return {view->begin(), view->end()};
}

region_id place(address_space& guest, const char* name, std::uint64_t at) {
  return must(guest.place(region::mmio(name, 16), guest_address{at}));
}

/// Changes the guest from another thread, and returns when that is done: so nobody holds the
/// writers up.
struct changing_guest {
  address_space* guest;
  std::uint64_t changes_left;
  std::uint64_t made = 0;

  static void change(listener_recorder& who) {
    auto& self = *static_cast<changing_guest*>(who.context);
    if (self.changes_left == 0) return;
    --self.changes_left;
    std::thread{[&] {
      static_cast<void>(
          self.guest->place(region::mmio("late", 16), guest_address{4096 + 64 * self.made++}));
    }}.join();
  }
};

}  // namespace

TEST_CASE("a late listener is told all there is, ascending, and then follows") {
  address_space guest;
  CHECK_FALSE(place(guest, "b", 64) == region_id{});
  const auto a = place(guest, "a", 0);
  listener_recorder listener;
  must(guest.add_listener(listener));
  CHECK(listener.written() == listener_calls{"begin", "+a[0,f]", "+b[40,4f]", "commit"});
  CHECK(guest.add_listener(listener).error().is(errc::already_there));
  listener.forget();
  must(guest.remove(a));
  CHECK(listener.written() == listener_calls{"begin", "-a[0,f]", "commit"});
  listener.forget();
  must(guest.remove_listener(listener));
  CHECK(listener.written() == listener_calls{"begin!", "-b[40,4f]", "commit"});
  must(guest.remove_listener(listener));
  const auto c = place(guest, "c", 128);
  CHECK_FALSE(c == a);
  CHECK(listener.commits == 3);
}

TEST_CASE(
    "the guest may change while a listener is told of it, and nothing is missed or told twice") {
  for (const std::uint64_t changes : {0u, 1u, 2u, 3u}) {
    address_space guest;
    const auto first = place(guest, "first", 0);
    CHECK_FALSE(first == region_id{});
    changing_guest other{&guest, changes};
    listener_recorder listener;
    listener.on_commit = changing_guest::change;
    listener.context = &other;
    must(guest.add_listener(listener));
    listener.on_commit = nullptr;
    CHECK(other.made == changes);
    CHECK(listener.begins == changes + 1);
    CHECK(listener.mapped() == listed(guest));
    CHECK(listener.mapped().size() == changes + 1);
    must(guest.remove(first));
    CHECK(listener.mapped() == listed(guest));
    CHECK(listener.breaches.empty());
    must(guest.remove_listener(listener));
  }
}

TEST_CASE("a listener that refuses in any round of its registration is left with nothing") {
  for (const std::uint64_t round : {1u, 2u, 3u, 4u}) {
    address_space guest;
    const auto first = place(guest, "first", 0);
    changing_guest other{&guest, 3};
    listener_recorder listener;
    listener.on_commit = changing_guest::change;
    listener.context = &other;
    listener.refuse_at = round;
    const auto refused = guest.add_listener(listener);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().is(errc::over_budget));
    CHECK_FALSE(refused.error().rollback_failed());
    CHECK(listener.mapped().empty());
    CHECK(listener.breaches.empty());
    const auto told = listener.commits;
    must(guest.remove(first));
    CHECK(listener.commits == told);
    must(guest.add_listener(listener));
    CHECK(listener.mapped() == listed(guest));
    must(guest.remove_listener(listener));
  }
}

TEST_CASE("a registration that can be undone only in part says so") {
  address_space guest;
  CHECK_FALSE(place(guest, "first", 0) == region_id{});
  changing_guest other{&guest, 1};
  listener_recorder listener;
  listener.on_commit = changing_guest::change;
  listener.context = &other;
  listener.refuse_at = 2;
  listener.then_refuse_at = 1;
  const auto refused = guest.add_listener(listener);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().rollback_failed());
}

TEST_CASE(
    "the guest may change while a listener is told that all is gone, and it hears nothing of "
    "that") {
  address_space guest;
  CHECK_FALSE(place(guest, "first", 0) == region_id{});
  listener_recorder listener;
  must(guest.add_listener(listener));
  changing_guest other{&guest, 1};
  listener.on_commit = changing_guest::change;
  listener.context = &other;
  must(guest.remove_listener(listener));
  CHECK(other.made == 1);
  CHECK(guest.view()->size() == 2);
  CHECK(listener.mapped().empty());
  CHECK(listener.begins == 2);
  CHECK(listener.breaches.empty());
}

TEST_CASE("memory stays until the last listener that was told of it is told otherwise") {
  auto block = must(ram_block::allocate("ram", 64 * KiB));
  struct watching {
    address_space* guest;
    region_id id;
    ram_block* block;
    bool freed = false;
  };
  address_space guest;
  watching watched{&guest, must(guest.place(region::ram(block), guest_address{0})), &block};
  listener_recorder listener;
  must(guest.add_listener(listener));
  listener.context = &watched;
  // While it is told that all is gone, another thread removes the region; only the unregistration
  // holds the view now.
  listener.on_commit = [](listener_recorder& who) {
    auto& it = *static_cast<watching*>(who.context);
    std::thread{[&] {
      static_cast<void>(it.guest->remove(it.id));
      it.freed = it.block->free().has_value();
    }}.join();
  };
  must(guest.remove_listener(listener));
  CHECK_FALSE(watched.freed);
  must(block.free());
}

TEST_CASE("a replay goes through its own listener, which may refuse, and the undo does not") {
  struct counting_replay {
    listener_recorder* to;
    std::uint64_t sections = 0;
    std::uint64_t refuse_from = ~std::uint64_t{0};
    void begin(commit_kind kind) noexcept { to->begin(kind); }
    void remove(section const& one) noexcept { to->remove(one); }
    void add(section const& one) noexcept {
      ++sections;
      to->add(one);
    }
    result<void> commit() noexcept {
      // it leaves the listener as it was, as it must
      if (sections >= refuse_from) to->refuse_at = 1;
      return to->commit();
    }
  };
  address_space guest;
  CHECK_FALSE(place(guest, "a", 0) == region_id{});
  CHECK_FALSE(place(guest, "b", 64) == region_id{});
  listener_recorder listener;
  {
    counting_replay replay{&listener};
    must(guest.add_listener(listener, 0, replay));
    CHECK(replay.sections == 2);
    CHECK_FALSE(place(guest, "c", 128) == region_id{});
    CHECK(replay.sections == 2);
    CHECK(listener.mapped().size() == 3);
    must(guest.remove_listener(listener));
  }
  changing_guest other{&guest, 1};
  listener.on_commit = changing_guest::change;
  listener.context = &other;
  counting_replay cancelled{&listener, 0, 4};
  CHECK_FALSE(guest.add_listener(listener, 0, cancelled));
  CHECK(cancelled.sections == 4);
  CHECK(listener.mapped().empty());
  CHECK(listener.breaches.empty());
}

}  // namespace scenario_late_registration
