// SPDX-License-Identifier: BSL-1.0
// What a step changes, and where a failure leads.
#include <tether/proof/units/source_calls.hpp>

namespace tether::proof {
namespace {

using stepwise = unit_scope<2, 1>;
using calls = source_calls<unit_abstraction<>, stepwise>;
using successor_type = unit_successor<stepwise>;

/// Two containers are told to unmap; the first has.
constexpr successor_type in_the_midst = [] {
  successor_type next{};
  for (follower_state& one : next.here.containers) {
    one = {.mapped = true, .followed = true, .locked = true, .reaches = true, .attached = true};
  }
  next.here.changing = true;
  next.here.turns.telling = 1;
  next.here.sources[0] = {
      .doing = source_task::discard, .step = unit_step::tell, .telling = true, .gave = true};
  calls::told(next, 0, false, false, unit_outcome::done);
  return next;
}();
static_assert(in_the_midst.here.sources[0].at == 1 && in_the_midst.here.containers[0].changed &&
              !in_the_midst.here.containers[0].reaches);

constexpr successor_type failed = [] {
  successor_type next = in_the_midst;
  calls::told(next, 0, false, false, unit_outcome::failed);
  return next;
}();
static_assert(failed.here.sources[0].undo_before == 1 && failed.here.sources[0].at == 0);

constexpr successor_type undone = [] {
  successor_type next = failed;
  calls::undo(next, 0, unit_outcome::done);
  return next;
}();
static_assert(undone.here.sources[0] == user_state{} && !undone.here.changing &&
              undone.here.turns.telling == 0 && undone.here.containers[0].reaches &&
              !undone.here.containers[0].locked && undone.said.broken == 0);
static_assert(undone.said.reached.has(source_task::discard, unit_outcome::failed));

constexpr successor_type stuck = [] {
  successor_type next = failed;
  calls::undo(next, 0, unit_outcome::failed);
  return next;
}();
static_assert(stuck.here.containers[0].diverged && !stuck.here.containers[1].diverged &&
              stuck.said.broken == 0);
static_assert(stuck.said.reached.has(source_task::discard, unit_outcome::stuck));

// A container that had done nothing must not diverge for it.
constexpr successor_type needless = [] {
  successor_type next = failed;
  next.here.containers[0].touched = false;
  calls::undo(next, 0, unit_outcome::failed);
  return next;
}();
static_assert(needless.said.broken == bit(unit_property::needless_divergence));

}  // namespace
}  // namespace tether::proof
