// SPDX-License-Identifier: BSL-1.0
// What the reductions leave out: only what equals something earlier, and only acts that nobody else
// can see.
#include <tether/proof/model/reduction.hpp>

#include <tether/proof/model/abstraction.hpp>
#include <tether/proof/model/state.hpp>

namespace tether::proof {
namespace {

constexpr bool symmetric(group_state first, group_state second, std::size_t at = 1) {
  const group_state groups[] = {first, second};
  return symmetric_to_earlier(groups, at);
}
constexpr group_state joined{.counts = {.attached = true}, .held = 1, .joined = true};
static_assert(symmetric({}, {}) && symmetric(joined, joined) && !symmetric(joined, joined, 0));
static_assert(!symmetric(joined, {}) && !symmetric({}, joined));
constexpr bool any_difference_counts() {
  group_state held = joined;
  held.held = 2;
  group_state in_kvm = joined;
  in_kvm.in_kvm = true;
  group_state mediated = joined;
  mediated.mediated = true;
  return !symmetric(joined, held) && !symmetric(joined, in_kvm) && !symmetric(joined, mediated);
}
static_assert(any_difference_counts());

using two = scope<2, 1, 1>;
constexpr bool containers_too() {
  world<two> here{};
  const bool alike = symmetric_to_earlier(here.containers, 1);
  here.containers[0].page = page_relation::recorded;
  return alike && !symmetric_to_earlier(here.containers, 1);
}
static_assert(containers_too());

// No act that can pin or unpin is reduced, nor one that the gate sees.
template <attach_unit Unit>
constexpr bool reduced(act what) {
  return invisible_act(what) || independent_act<Unit>(what);
}
constexpr bool nothing_that_pins_is_reduced() {
  for (const act what : {act::join, act::leave, act::replay, act::withdraw, act::populate,
                         act::close, act::raise_holds, act::lower_holds}) {
    if (reduced<attach_unit::group>(what) || reduced<attach_unit::device>(what)) return false;
  }
  return true;
}
static_assert(nothing_that_pins_is_reduced());
// Opening a device of a group that has joined can pin; a single device has not joined yet.
static_assert(!reduced<attach_unit::group>(act::open) && reduced<attach_unit::device>(act::open));
// One or the other: an invisible act is no event, an independent one is.
static_assert(invisible_act(act::commit) && !independent_act<attach_unit::group>(act::commit));
static_assert(!invisible_act(act::bind) && independent_act<attach_unit::device>(act::bind));

}  // namespace
}  // namespace tether::proof
