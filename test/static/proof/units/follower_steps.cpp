// SPDX-License-Identifier: BSL-1.0
// What a container does by itself, step by step.
#include <tether/proof/units/follower_steps.hpp>

#include <cstddef>

namespace tether::proof {
namespace {

using stepwise = unit_scope<1, 1>;
using here = unit_world<stepwise>;
using steps = follower_steps<unit_abstraction<>, stepwise>;

/// The successor in which the `nth` choice was taken; of all, how many there are.
struct choice {
  here to{};
  unit_report said{};
  std::size_t of = 0;
};
constexpr choice taken(here const& from, std::size_t nth = 0) {
  choice one{};
  const auto visit = [&](unit_successor<stepwise> const& next) {
    if (one.of++ == nth) one.to = next.here, one.said = next.said;
    return true;
  };
  static_cast<void>(steps::for_each(from, 0, visit));
  return one;
}

constexpr here begun = taken(here{}).to;
static_assert(begun.containers[0].locked && begun.turns.enrolling == 1 && !begun.turns.open);
constexpr here waits = [] {
  here from = begun;
  from.turns.telling = 1;
  return from;
}();
static_assert(taken(waits).of == 0, "somebody tells");
constexpr here opened = taken(begun).to;
static_assert(opened.turns.open && opened.containers[0].step == follower_step::call);
static_assert(taken(opened).of == 3, "it is done, fails, gets stuck");
constexpr here attached = taken(taken(opened).to).to;
static_assert(attached.containers[0] ==
              follower_state{.mapped = true, .followed = true, .reaches = true, .attached = true});
static_assert(attached.turns == tether::detail::telling_and_enrolling{});
static_assert(taken(taken(opened, 1).to).to.containers[0] == follower_state{}, "it has failed");
constexpr follower_state stuck = taken(taken(opened, 2).to).to.containers[0];
static_assert(stuck.diverged && stuck.followed && stuck.reaches && !stuck.attached);
static_assert(
    taken(taken(opened, 2).to).said.reached.has(follower_task::attach, unit_outcome::stuck));

// What is discarded is not mapped by an attach, and nothing is called.
constexpr here without_it = [] {
  here from = begun;
  from.present = false;
  return taken(from).to;
}();
static_assert(without_it.containers[0].step == follower_step::end);
static_assert(taken(attached).of == 2, "it detaches, or works");

constexpr unit_report mapped_twice = [] {
  follower_state one{.reaches = true};
  unit_report said{};
  detail::call_backend(one, true, unit_outcome::done, said);
  return said;
}();
static_assert(mapped_twice.broken == bit(unit_property::forbidden_call));
static_assert(detail::coordinated_allowed(hold_kind::uncoordinated, 2) &&
              !detail::coordinated_allowed(hold_kind::any, 1) &&
              detail::coordinated_allowed(hold_kind::any, 0));

}  // namespace
}  // namespace tether::proof
