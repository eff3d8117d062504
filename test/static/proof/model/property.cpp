// SPDX-License-Identifier: BSL-1.0
// Each property is broken by a world that breaks it, and by no more than that.
#include <tether/proof/model/property.hpp>

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/proof/model/abstraction.hpp>

namespace tether::proof {
namespace {

using subject = abstraction<inhibit_per_group, lifecycle_of<attach_unit::group>>;
using little = world<small_scope>;

template <class Change>
constexpr broken_properties broken(group_state group, Change change) {
  little here{};
  here.containers[0].groups[0] = group;
  here.containers[0].page = page_relation::recorded;
  pin<subject>(here, 0);
  change(here.containers[0], here);
  return broken_in<subject>(here);
}
constexpr auto nothing_else = [](auto&, auto&) {};
constexpr group_state pinning{.counts = {.attached = true}, .held = 1, .joined = true};
constexpr group_state agreed{.counts = {.agreed = 1, .attached = true, .consent_known = true},
                             .consenting = 1,
                             .joined = true,
                             .mediated = true};

static_assert(broken_in<subject>(little{}) == 0 && broken(pinning, nothing_else) == 0 &&
              broken(agreed, nothing_else) == 0);

static_assert(broken(pinning, [](auto& container, auto&) {
                container.page = page_relation::pinned_other;
              }) == bit(property::stale_mapping));
static_assert(broken(pinning, [](auto&, auto& here) { here.leaked = true; }) ==
              bit(property::unbalanced_holds));
static_assert(broken(pinning, [](auto& container, auto&) { container.groups[0].held = 0; }) ==
              bit(property::unbalanced_holds));
static_assert(broken(pinning, [](auto& container, auto&) { container.groups[0].in_kvm = true; }) ==
              bit(property::left_behind));
static_assert(broken(pinning, [](auto& container, auto&) {
                container.page = page_relation::none;
              }) == bit(property::left_behind));
static_assert(broken(pinning, [](auto& container, auto&) { container.groups[0].declining = 1; }) ==
              bit(property::left_behind));
// A hold for a group that needs none: unbalanced, and the balloon is refused for nothing.
static_assert(broken(agreed, [](auto& container, auto&) { container.groups[0].held = 1; }) ==
              (bit(property::unbalanced_holds) | bit(property::needless_refusal)));
// With no device open nobody knows yet, so holding is no refusal for nothing.
static_assert(broken({.counts = {.attached = true}, .held = 1, .joined = true, .mediated = true},
                     nothing_else) == 0);
constexpr group_state mixed{
    .counts = {.agreed = 1, .declined = 1, .attached = true, .consent_known = true},
    .held = 1,
    .declining = 1,
    .consenting = 1,
    .joined = true,
    .mediated = true};
static_assert(broken(mixed, nothing_else) == bit(property::mixed_membership));
// Neither a call in progress nor a container that has diverged is at rest.
static_assert(broken(pinning, [](auto& container, auto&) {
                container.groups[0].held = 0, container.active = 0;
              }) == 0);
static_assert(broken(agreed, [](auto& container, auto&) {
                container.groups[0].held = 1, container.diverged = true;
              }) == 0);

static_assert(first_of(bit(property::left_behind) | bit(property::unbounded_counts)) ==
              property::left_behind);
static_assert(name_of(property::stale_mapping) == "stale mapping" &&
              name_of(property::unbounded_counts) == "counts without bound");
static_assert(gate_open<subject>(little{}));

}  // namespace
}  // namespace tether::proof
