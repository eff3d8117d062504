// SPDX-License-Identifier: BSL-1.0
#include <tether/core/slots.hpp>

#include <type_traits>

using namespace tether;

namespace {

struct by_group {
  using slot = inhibition_slot;
};
struct by_device {
  using slot = inhibition_slot;
};
struct in_blocks {
  using slot = granularity_slot;
};
struct no_policy {};

static_assert(policy<by_group> && !policy<no_policy> && !policy<int>);

// In any order; the default where none fills the slot.
static_assert(std::is_same_v<policy_for<inhibition_slot, by_group, in_blocks, by_device>, by_device>);
static_assert(std::is_same_v<policy_for<inhibition_slot, by_group, by_device, in_blocks>, by_device>);
static_assert(std::is_same_v<policy_for<inhibition_slot, by_group, in_blocks>, by_group>);
static_assert(std::is_same_v<policy_for<inhibition_slot, by_group>, by_group>);
static_assert(std::is_same_v<policy_for<edges_slot, no_policy, by_group, in_blocks>, no_policy>, "a default need be no policy");

static_assert(policies_in<inhibition_slot> == 0);
static_assert(policies_in<inhibition_slot, in_blocks> == 0);
static_assert(policies_in<inhibition_slot, by_group, in_blocks, by_device> == 2, "two for one slot can be seen");
static_assert(policies_in<granularity_slot, by_group, in_blocks, no_policy> == 1);

static_assert(fills_one_of<by_group, granularity_slot, inhibition_slot>);
static_assert(!fills_one_of<by_group, granularity_slot, edges_slot>);
static_assert(!fills_one_of<no_policy, inhibition_slot> && !fills_one_of<by_group>);

}  // namespace
