// SPDX-License-Identifier: BSL-1.0
// Undos are derived: exactly where a later step can fail, and never for what needs none.
#include <tether/attach/lifecycle/steps.hpp>

namespace tether {
namespace {

using enum act;

constexpr bool same(step one, step other) {
  return one.forward == other.forward && one.backward == other.backward;
}

constexpr plan attach = planned(change::attach, {raise_holds, join, replay, commit});
static_assert(attach.size() == 4 && attach.makes == change::attach);
static_assert(same(attach.steps[0], {raise_holds, lower_holds}) &&
              same(attach.steps[1], {join, leave}));
static_assert(same(attach.steps[2], {replay, nothing}) && same(attach.steps[3], {commit, nothing}));
static_assert(attach.may_roll_back_after(0) && attach.may_roll_back_after(1) &&
              !attach.may_roll_back_after(2));

// What cannot be undone by itself has no undo, even where a later step can fail.
constexpr plan bound = planned(change::attach_device, {open, bind, join});
static_assert(same(bound.steps[0], {open, close}) && same(bound.steps[1], {bind, nothing}) &&
              same(bound.steps[2], {join, nothing}));

static_assert(planned(change::none, {}).size() == 0);
static_assert(!can_fail(lower_holds) && !can_fail(commit) && !can_fail(release) &&
              can_fail(judge) && can_fail(remove_from_kvm) && can_fail(close));

/// Taking back what took something back does the thing itself.
constexpr bool inverts_itself(act what) { return inverse_of(inverse_of(what)) == what; }
static_assert(inverts_itself(join) && inverts_itself(leave) && inverts_itself(replay) &&
              inverts_itself(withdraw));
static_assert(inverts_itself(add_to_kvm) && inverts_itself(remove_from_kvm));
static_assert(inverse_of(raise_holds) == lower_holds && inverse_of(lower_holds) == nothing &&
              inverse_of(close) == nothing && inverse_of(bind) == nothing);

}  // namespace
}  // namespace tether
