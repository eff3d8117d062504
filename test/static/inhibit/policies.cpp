// SPDX-License-Identifier: BSL-1.0
#include <tether/inhibit/policies.hpp>

#include <laws/inhibition.hpp>

#include <type_traits>

namespace tether {

static_assert(laws::keeps_the_laws_of_inhibition<inhibit_per_group>);
static_assert(std::is_empty_v<inhibit_per_group>, "a policy has no state of its own");
static_assert(inhibit_per_group::holds(group_counts{}) == 0);
static_assert(inhibit_per_group::holds(group_counts{0, 0, true, false}) == 1, "nobody knows yet");
static_assert(inhibit_per_group::holds(group_counts{0, 2, true, false}) == 1,
              "one hold, however many devices");
static_assert(inhibit_per_group::holds(group_counts{1, 0, true, true}) == 0);
static_assert(inhibit_per_group::holds(group_counts{0, 0, true, true}) == 0,
              "what is known stays known");
static_assert(inhibit_per_group::holds(group_counts{0, 1, true, true}) == 1);
static_assert(holds_for_a_group<inhibit_per_group> && !holds_for_a_container<inhibit_per_group>);
static_assert(!admitted<inhibit_per_group>(group_counts{1, 1, true, true}));
static_assert(admitted<inhibit_per_group>(group_counts{2, 0, true, true}) &&
              admitted<inhibit_per_group>(group_counts{0, 2, true, true}));

static_assert(laws::keeps_the_laws_of_inhibition<inhibit_per_container>);
static_assert(std::is_empty_v<inhibit_per_container>, "a policy has no state of its own");
static_assert(inhibit_per_container::holds(container_counts{}) == 0);
static_assert(inhibit_per_container::holds(container_counts{1, 0}) == 1);
static_assert(inhibit_per_container::holds(container_counts{7, 6}) == 1,
              "one hold, however many groups need one");
static_assert(inhibit_per_container::holds(container_counts{7, 0}) == 1);
static_assert(inhibit_per_container::holds(container_counts{7, 7}) == 0);
static_assert(holds_for_a_container<inhibit_per_container> &&
              !holds_for_a_group<inhibit_per_container>);
static_assert(!admitted<inhibit_per_container>(group_counts{1, 1, true, true}));
static_assert(admitted<inhibit_per_container>(group_counts{2, 0, true, true}) &&
              admitted<inhibit_per_container>(group_counts{0, 2, true, true}));

static_assert(laws::keeps_the_laws_of_inhibition<inhibit_per_device>);
static_assert(std::is_empty_v<inhibit_per_device>, "a policy has no state of its own");
static_assert(inhibit_per_device::holds(group_counts{}) == 0);
static_assert(inhibit_per_device::holds(group_counts{0, 0, true, false}) == 1,
              "the group's own, until it is known");
static_assert(inhibit_per_device::holds(group_counts{0, 2, true, false}) == 3);
static_assert(inhibit_per_device::holds(group_counts{1, 0, true, true}) == 0);
static_assert(inhibit_per_device::holds(group_counts{1, 2, true, true}) == 2,
              "one for each that did not agree");
static_assert(holds_for_a_group<inhibit_per_device> && !holds_for_a_container<inhibit_per_device>);
static_assert(admitted<inhibit_per_device>(group_counts{1, 1, true, true}),
              "each device counts for itself");

static_assert(inhibition<no_inhibition> && never_inhibits<no_inhibition> &&
              std::is_empty_v<no_inhibition>);
static_assert(!holds_for_a_group<no_inhibition> && !holds_for_a_container<no_inhibition>);
static_assert(holds_needed<no_inhibition>(group_counts{0, 2, true, false}) == 0 &&
              holds_needed<no_inhibition>(container_counts{2, 0}) == 0);
static_assert(admitted<no_inhibition>(group_counts{1, 1, true, true}));

}  // namespace tether
