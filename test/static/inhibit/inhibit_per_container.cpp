// SPDX-License-Identifier: BSL-1.0
#include <tether/inhibit/inhibit_per_container.hpp>

#include <laws/inhibition.hpp>

#include <type_traits>

namespace tether {

static_assert(laws::keeps_the_laws_of_inhibition<inhibit_per_container>);
static_assert(std::is_empty_v<inhibit_per_container>, "a policy has no state of its own");
static_assert(inhibit_per_container::holds(container_tally{}) == 0);
static_assert(inhibit_per_container::holds(container_tally{1, 0}) == 1);
static_assert(inhibit_per_container::holds(container_tally{7, 6}) == 1, "one hold, however many have not settled");
static_assert(inhibit_per_container::holds(container_tally{7, 0}) == 1);
static_assert(inhibit_per_container::holds(container_tally{7, 7}) == 0);
static_assert(holds_for_a_container<inhibit_per_container> && !holds_for_a_group<inhibit_per_container>);
static_assert(!admitted<inhibit_per_container>(group_tally{1, 1, true, true}));
static_assert(admitted<inhibit_per_container>(group_tally{2, 0, true, true}) && admitted<inhibit_per_container>(group_tally{0, 2, true, true}));

}  // namespace tether
