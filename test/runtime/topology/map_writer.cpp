// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/address_space.hpp>
#include <tether/topology/map_writer.hpp>

#include <support/listener_recorder.hpp>
#include <support/must.hpp>
#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <string>

using namespace tether;
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
           if (during_registration) static_cast<void>(guest.place(region::mmio("first", 16), guest_address{0}));
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
      CHECK(stops(at, [](meddler& it) { static_cast<void>(it.guest->begin()); }, during_registration));
      CHECK(stops(
          at, [](meddler& it) { static_cast<void>(it.guest->place(region::mmio("x", 1), guest_address{0})); }, during_registration));
      CHECK(stops(at, [](meddler& it) { static_cast<void>(it.guest->remove_listener(it)); }, during_registration));
      CHECK(stops(at, [](meddler& it) {
              static tether_test::listener_recorder other;
              static_cast<void>(it.guest->add_listener(other));
            }, during_registration));
    }
  }
}

TEST_CASE("a listener may look at the address space that calls it, and sees what was before the change") {
  address_space guest;
  meddler who{&guest, meddler::when::commit, [](meddler& it) { it.seen = it.guest->view()->size(); }};
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
