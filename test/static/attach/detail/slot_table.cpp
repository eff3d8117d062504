// SPDX-License-Identifier: BSL-1.0
#include <tether/attach/detail/slot_table.hpp>

#include <type_traits>

namespace tether::detail {
namespace {

struct by_nobody {
  using slot = inhibition_slot;
};
struct in_blocks {
  using slot = granularity_slot;
};
struct of_no_slot {
  using slot = int;
};
struct no_policy {};

// In any order; the table's where none fills the slot; as asked for even where it is not accepted.
static_assert(
    std::is_same_v<asked_for<inhibition_slot, in_blocks, inhibit_per_device>, inhibit_per_device>);
static_assert(
    std::is_same_v<asked_for<inhibition_slot, inhibit_per_device, in_blocks>, inhibit_per_device>);
static_assert(std::is_same_v<asked_for<inhibition_slot, in_blocks>, inhibit_per_group>);
static_assert(std::is_same_v<asked_for<inhibition_slot>, inhibit_per_group>);
static_assert(std::is_same_v<asked_for<inhibition_slot, by_nobody>, by_nobody>);

// What a slot does not accept is replaced, so that one sentence is all that is said.
static_assert(accepts<inhibition_slot, inhibit_per_device> && !accepts<inhibition_slot, by_nobody>);
static_assert(std::is_same_v<policy_for<inhibition_slot, by_nobody>, inhibit_per_group>);
static_assert(std::is_same_v<policy_for<inhibition_slot, inhibit_per_device>, inhibit_per_device>);
static_assert(std::is_same_v<policy_for<granularity_slot, in_blocks>, whole_section>);

static_assert(policies_in<inhibition_slot> == 0 && policies_in<inhibition_slot, in_blocks> == 0);
static_assert(policies_in<inhibition_slot, by_nobody, in_blocks, inhibit_per_group> == 2,
              "two for one slot can be seen");
static_assert(policies_in<granularity_slot, by_nobody, in_blocks, no_policy> == 1);
static_assert(each_slot_at_most_once<> && each_slot_at_most_once<by_nobody, in_blocks>);
static_assert(!each_slot_at_most_once<by_nobody, in_blocks, inhibit_per_group>);

static_assert(fills_a_slot<by_nobody> && fills_a_slot<in_blocks> && !fills_a_slot<no_policy> &&
              !fills_a_slot<of_no_slot>);

// Each slot's standard policy is one that the slot accepts.
static_assert(decltype(boost::hana::all_of(slot_table, [](auto entry) {
  return boost::hana::bool_c<decltype(entry)::template accepts<typename decltype(entry)::standard>>;
}))::value);

}  // namespace
}  // namespace tether::detail
