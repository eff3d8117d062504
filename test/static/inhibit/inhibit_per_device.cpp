// SPDX-License-Identifier: BSL-1.0
#include <tether/inhibit/inhibit_per_device.hpp>

#include <laws/inhibition.hpp>

#include <type_traits>

namespace tether {

static_assert(laws::keeps_the_laws_of_inhibition<inhibit_per_device>);
static_assert(std::is_empty_v<inhibit_per_device>, "a policy has no state of its own");
static_assert(inhibit_per_device::holds(group_tally{}) == 0);
static_assert(inhibit_per_device::holds(group_tally{0, 0, true, false}) == 1, "the group's own, until it is known");
static_assert(inhibit_per_device::holds(group_tally{0, 2, true, false}) == 3);
static_assert(inhibit_per_device::holds(group_tally{1, 0, true, true}) == 0);
static_assert(inhibit_per_device::holds(group_tally{1, 2, true, true}) == 2, "one for each that did not agree");
static_assert(holds_for_a_group<inhibit_per_device> && !holds_for_a_container<inhibit_per_device>);
static_assert(admitted<inhibit_per_device>(group_tally{1, 1, true, true}), "each device counts for itself");

}  // namespace tether
