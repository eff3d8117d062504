// SPDX-License-Identifier: BSL-1.0
// A device model changes several regions in functions that each begin a transaction of their own:
// the outermost decides when it happens, and whether.
#include <tether/topology/address_space.hpp>

#include <support/listener_recorder.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <thread>

namespace scenario_nested_transactions {

using namespace tether;
using tether_test::listener_calls;
using tether_test::listener_recorder;
using tether_test::must;

TEST_CASE("nested transactions are one begin and one commit to everyone") {
  address_space guest;
  listener_recorder listener;
  must(guest.add_listener(listener));
  auto outer = guest.begin();
  const auto a = must(outer.place(region::mmio("a", 16), guest_address{0}));
  {
    auto inner = guest.begin();
    const auto b = must(inner.place(region::mmio("b", 16), guest_address{16}));
    {
      auto innermost = guest.begin();
      must(innermost.move(b, guest_address{64}));
      const auto report = must(innermost.commit());
      CHECK(report.added == 0);
    }
    static_cast<void>(must(inner.commit()));
    CHECK(listener.begins == 0);
    CHECK(guest.view()->empty());
  }
  // A transaction of one edit nests like any other.
  must(guest.set_enabled(a, false));
  must(guest.set_enabled(a, true));
  CHECK(listener.begins == 0);
  CHECK(must(outer.commit()).added == 2);
  CHECK(listener.written() == listener_calls{"begin", "+a[0,f]", "+b[40,4f]", "commit"});
  must(guest.remove_listener(listener));
}

TEST_CASE("an inner transaction that is abandoned takes back its own edits and no others") {
  address_space guest;
  auto outer = guest.begin();
  const auto kept = must(outer.place(region::mmio("kept", 16), guest_address{0}));
  {
    auto inner = guest.begin();
    must(inner.move(kept, guest_address{1024}));
    const auto dropped = must(inner.place(region::mmio("dropped", 16), guest_address{64}));
    CHECK_FALSE(dropped == kept);
  }
  static_cast<void>(must(outer.commit()));
  REQUIRE(guest.view()->size() == 1);
  CHECK(guest.view()->find(guest_address{0})->name == "kept");
}

TEST_CASE("an outer transaction that is abandoned drops what inner ones committed") {
  address_space guest;
  {
    auto outer = guest.begin();
    auto inner = guest.begin();
    const auto id = must(inner.place(region::mmio("dropped", 16), guest_address{64}));
    CHECK_FALSE(id == region_id{});
    static_cast<void>(must(inner.commit()));
  }
  CHECK(guest.view()->empty());
}

TEST_CASE("an empty commit, and one whose edits cancel out, tell nobody anything") {
  address_space guest;
  listener_recorder listener;
  must(guest.add_listener(listener));
  {
    auto change = guest.begin();
    CHECK(must(change.commit()).added == 0);
  }
  {
    auto change = guest.begin();
    const auto id = must(change.place(region::mmio("a", 16), guest_address{0}));
    must(change.remove(id));
    CHECK(must(change.commit()).removed == 0);
  }
  CHECK(listener.written().empty());
  must(guest.remove_listener(listener));
}

TEST_CASE(
    "a compulsory transaction inside a refusable one makes the whole compulsory, unless it is "
    "abandoned") {
  address_space guest;
  listener_recorder listener;
  must(guest.add_listener(listener));
  {
    auto outer = guest.begin();
    const auto id = must(outer.place(region::mmio("a", 16), guest_address{0}));
    CHECK_FALSE(id == region_id{});
    {
      auto inner = guest.begin(commit_kind::compulsory);
      static_cast<void>(must(inner.commit()));
    }
    listener.refuse_at = 1;
    const auto report = must(outer.commit());
    REQUIRE(report.fenced.size() == 1);
    CHECK(report.fenced[0].is(errc::over_budget));
  }
  CHECK(guest.view()->size() == 1);
  {
    auto outer = guest.begin();
    const auto id = must(outer.place(region::mmio("b", 16), guest_address{64}));
    CHECK_FALSE(id == region_id{});
    {
      auto middle = guest.begin();
      auto inner = guest.begin(commit_kind::compulsory);
      static_cast<void>(must(inner.commit()));
    }
    listener.refuse_at = 1;
    CHECK_FALSE(outer.commit());
  }
  CHECK(guest.view()->size() == 1);
  must(guest.remove_listener(listener));
}

TEST_CASE("other threads wait until the outermost transaction has ended") {
  address_space guest;
  std::thread other;
  {
    auto outer = guest.begin();
    other = std::thread{[&] {
      auto change = guest.begin();
      // The other thread's transaction has ended: both of its regions are there.
      CHECK(guest.view()->size() == 2);
      static_cast<void>(must(change.commit()));
    }};
    for (std::uint64_t i = 0; i < 2; ++i) {
      auto inner = guest.begin();
      const auto id = must(inner.place(region::mmio("a", 16), guest_address{i * 64}));
      CHECK_FALSE(id == region_id{});
      static_cast<void>(must(inner.commit()));
    }
    static_cast<void>(must(outer.commit()));
  }
  other.join();
}

}  // namespace scenario_nested_transactions
