// SPDX-License-Identifier: BSL-1.0
#include <tether/inhibit/no_inhibition.hpp>

#include <type_traits>

namespace tether {

static_assert(inhibition<no_inhibition> && never_inhibits<no_inhibition> && std::is_empty_v<no_inhibition>);
static_assert(!holds_for_a_group<no_inhibition> && !holds_for_a_container<no_inhibition>);
static_assert(holds_needed<no_inhibition>(group_tally{0, 2, true, false}) == 0 && holds_needed<no_inhibition>(container_tally{2, 0}) == 0);
static_assert(admitted<no_inhibition>(group_tally{1, 1, true, true}));

}  // namespace tether
