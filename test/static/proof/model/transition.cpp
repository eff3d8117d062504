// SPDX-License-Identifier: BSL-1.0
// What can happen next: counted and looked at by hand in a few worlds.
#include <tether/proof/model/transition.hpp>

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/proof/model/abstraction.hpp>

namespace tether::proof {
namespace {

using lasting = scope<1, 2, 2>;
using subject = abstraction<inhibit_per_group, lifecycle_of<attach_unit::group>>;

template <class Abstraction = subject, class Scope>
constexpr std::size_t count(world<Scope> const& from, auto matches) {
  std::size_t all = 0;
  transition<Abstraction, Scope>::for_each(from, [&](successor<Scope> const& next) {
    all += matches(next) ? 1U : 0U;
    return true;
  });
  return all;
}
constexpr auto any = [](auto const&) { return true; };
constexpr auto by(actor who) {
  return [who](auto const& next) { return next.by.who == who; };
}

// At first: either kind of group is attached (its hold taken, or refused); groups that are alike
// are one. And a permit.
static_assert(count(world<lasting>{}, any) == 5 && count(world<lasting>{}, by(actor::caller)) == 4);
// Where permits are momentary a discard that nobody has pinned is nothing.
static_assert(count(world<small_scope>{}, any) == 4);

constexpr world<lasting> held = [] {
  world<lasting> found{};
  transition<subject, lasting>::for_each(world<lasting>{}, [&](successor<lasting> const& next) {
    found = next.here;
    return next.by.how != outcome::done;
  });
  return found;
}();
static_assert(held.holds() == 1 && !held.containers[0].at_rest());
// Then the join, in three ways; no permit any more, and the counts are not entered yet.
static_assert(count(held, any) == 3 &&
              count(held, [](auto const& next) { return next.by.what == act::join; }) == 3);
static_assert(count(held, [](auto const& next) {
                return next.by.how == outcome::stuck && next.here.containers[0].diverged;
              }) == 1);
static_assert(count(held, [](auto const& next) {
                return next.said.reached.has(act::join, outcome::failed);
              }) == 1);

// A hold waits for a permit that is out, if the gate drains.
struct counting : machinery {
  static constexpr bool gate_drains = false;
};
using hasty = abstraction<inhibit_per_group, lifecycle_of<attach_unit::group>, true, hold_kind::any,
                          counting>;
constexpr world<lasting> permitted = [] {
  world<lasting> here{};
  here.permit = true;
  return here;
}();
constexpr auto takes_hold = [](auto const& next) {
  return next.by.what == act::raise_holds && next.by.how == outcome::done;
};
static_assert(count(permitted, takes_hold) == 0 && count<hasty>(permitted, takes_hold) == 2);
static_assert(count(permitted, by(actor::discard)) == 1 &&
              count(permitted, by(actor::permit)) == 0);

// A replay can also map a part, and fail after that.
constexpr world<lasting> joined = [] {
  world<lasting> found{};
  transition<subject, lasting>::for_each(held, [&](successor<lasting> const& next) {
    found = next.here;
    return next.by.how != outcome::done;
  });
  return found;
}();
constexpr auto half = [](auto const& next) {
  return next.by.half_way && next.here.containers[0].page == page_relation::pinned_same;
};
static_assert(count(joined, any) == 4 && count(joined, half) == 1);
constexpr world<lasting> replay_will_fail = [] {
  world<lasting> found{};
  transition<subject, lasting>::for_each(joined, [&](successor<lasting> const& next) {
    if (next.by.half_way) found = next.here;
    return true;
  });
  return found;
}();
static_assert(count(replay_will_fail, any) == 2);
static_assert(count(replay_will_fail, [](auto const& next) {
                return next.here.containers[0].page == page_relation::none;
              }) == 1);

// What lets nothing be pinned is done with before anybody else acts.
using alone = abstraction<inhibit_per_group, lifecycle_of<attach_unit::device>>;
constexpr world<lasting> opened = [] {
  world<lasting> found{};
  transition<alone, lasting>::for_each(world<lasting>{}, [&](successor<lasting> const& next) {
    found = next.here;
    return next.by.how != outcome::done;
  });
  return found;
}();
static_assert(opened.containers[0].device.open && count<alone>(opened, any) == 3 &&
              count<alone>(opened, by(actor::permit)) == 0);

}  // namespace
}  // namespace tether::proof
