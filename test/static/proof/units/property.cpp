// SPDX-License-Identifier: BSL-1.0
// Each property, in a state that breaks it and in one next to it that does not.
#include <tether/proof/units/property.hpp>

namespace tether::proof {
namespace {

using here = unit_world<unit_scope<1, 2>>;
using enum unit_property;

constexpr follower_state attached{
    .mapped = true, .followed = true, .reaches = true, .attached = true};
constexpr follower_state empty_handed{.followed = true, .attached = true};
constexpr here with(follower_state one) {
  here all{};
  all.containers[0] = one;
  return all;
}
constexpr here discarded(follower_state one) {
  here all = with(one);
  all.sources[0].wants = all.sources[0].gave = true;
  all.present = all.memory_there = false;
  return all;
}

static_assert(broken_in_units(here{}) == 0 && broken_in_units(with(attached)) == 0 &&
              broken_in_units(discarded(empty_handed)) == 0);
static_assert((broken_in_units(discarded(attached)) & bit(mapped_and_gone)) != 0);

static_assert((broken_in_units(with(empty_handed)) & bit(told_too_early)) != 0);
constexpr follower_state fenced{.followed = true, .attached = true, .without = true};
static_assert(broken_in_units(with(fenced)) == 0);
constexpr follower_state detaching{
    .followed = true, .doing = follower_task::detach, .attached = true};
static_assert(broken_in_units(with(detaching)) == 0, "it was told to go");
static_assert((broken_in_units([] {
                 here all{};
                 all.memory_there = false;
                 return all;
               }()) &
               bit(told_too_early)) != 0);

constexpr bool left(follower_state one) {
  return (broken_in_units(with(one)) & bit(left_behind)) != 0;
}
static_assert(left({.followed = true}) && left({.mapped = true}) && left({.locked = true}));
static_assert(left({.mapped = true, .reaches = true, .attached = true}), "it is not followed");
static_assert(left({.diverged = true, .reaches = true}), "what it reaches could be discarded");
static_assert(!left({.diverged = true, .followed = true, .reaches = true}));
static_assert((broken_in_units([] {
                 here all{};
                 all.sources[1].wants = true;
                 return all;
               }()) &
               bit(left_behind)) != 0);
static_assert((broken_in_units([] {
                 here all{};
                 all.turns.telling = 1;
                 return all;
               }()) &
               bit(left_behind)) != 0);
static_assert(bit(waits_for_ever) < every_property &&
              name_of(left_behind) == "something left behind");

}  // namespace
}  // namespace tether::proof
