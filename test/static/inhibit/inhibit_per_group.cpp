// SPDX-License-Identifier: BSL-1.0
#include <tether/inhibit/inhibit_per_group.hpp>

#include <laws/inhibition.hpp>

#include <type_traits>

namespace tether {

static_assert(laws::keeps_the_laws_of_inhibition<inhibit_per_group>);
static_assert(std::is_empty_v<inhibit_per_group>, "a policy has no state of its own");
static_assert(inhibit_per_group::holds(group_tally{}) == 0);
static_assert(inhibit_per_group::holds(group_tally{0, 0, true, false}) == 1, "nobody knows yet");
static_assert(inhibit_per_group::holds(group_tally{0, 2, true, false}) == 1, "one hold, however many devices");
static_assert(inhibit_per_group::holds(group_tally{1, 0, true, true}) == 0);
static_assert(inhibit_per_group::holds(group_tally{0, 0, true, true}) == 0, "what is known stays known");
static_assert(inhibit_per_group::holds(group_tally{0, 1, true, true}) == 1);
static_assert(holds_for_a_group<inhibit_per_group> && !holds_for_a_container<inhibit_per_group>);
static_assert(!admitted<inhibit_per_group>(group_tally{1, 1, true, true}));
static_assert(admitted<inhibit_per_group>(group_tally{2, 0, true, true}) && admitted<inhibit_per_group>(group_tally{0, 2, true, true}));

}  // namespace tether
