// SPDX-License-Identifier: BSL-1.0
// What follows from what: only plans that lack nothing but KVM's acts.
#include <tether/proof/search/follows.hpp>

#include <tether/inhibit/policies.hpp>

#include <support/proof_seeds.hpp>

namespace tether::proof::detail {
namespace {

using enum act;
constexpr plan telling = planned(change::attach, {raise_holds, acquire, add_to_kvm, join, replay, commit});
static_assert(is_the_rest_of(planned(change::attach, {raise_holds, join, replay, commit}), telling));
static_assert(!is_the_rest_of(planned(change::attach, {join, raise_holds, replay, commit}), telling));
static_assert(!is_the_rest_of(planned(change::attach, {raise_holds, join, commit}), telling));
static_assert(!is_the_rest_of(planned(change::attach, {raise_holds, join, replay, commit, lower_holds}), telling));
static_assert(!is_the_rest_of(planned(change::detach, {raise_holds, join, replay, commit}), telling));

// An undo may be missing where it can never run, and nowhere else.
constexpr plan forgetting = planned(change::detach, {leave, remove_from_kvm, release, commit, lower_holds});
static_assert(forgetting.steps[0].backward == join);
static_assert(is_the_rest_of(planned(change::detach, {leave, commit, lower_holds}), forgetting));
constexpr plan robbed = [] {
  plan made = planned(change::attach, {raise_holds, join, replay, commit});
  made.steps[0].backward = nothing;
  return made;
}();
static_assert(!is_the_rest_of(robbed, telling));

template <class Inhibition, attach_unit Unit, bool TellsKvm>
using configured = abstraction<Inhibition, lifecycle_of<Unit, TellsKvm>>;
using groups = configured<inhibit_per_group, attach_unit::group, true>;

static_assert(differ_in_kvm_alone<configured<inhibit_per_group, attach_unit::group, false>, groups>);
static_assert(!differ_in_kvm_alone<configured<inhibit_per_container, attach_unit::group, false>, groups>);
static_assert(!differ_in_kvm_alone<configured<inhibit_per_group, attach_unit::device, false>, groups>);
static_assert(!differ_in_kvm_alone<abstraction<inhibit_per_group, lifecycle_of<attach_unit::group>, false>, groups>);
static_assert(!differ_in_kvm_alone<groups, configured<inhibit_per_group, attach_unit::group, false>>);

// From a wrong one nothing follows, and from a right one nothing that is wrong.
using hold_comes_late = seeds::holds_after_the_pin;
static_assert(!follows_from<abstraction<inhibit_per_group, hold_comes_late>, groups>);
static_assert(!follows_from<abstraction<inhibit_per_group, hold_comes_late>, abstraction<inhibit_per_group, hold_comes_late>>);

// The commonest is searched by itself as well: nothing is wrong with the argument.
static_assert(proven_safe<configured<inhibit_per_group, attach_unit::group, false>>);

}  // namespace
}  // namespace tether::proof::detail
