// SPDX-License-Identifier: BSL-1.0
#include <tether/attach/detail/records.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/inhibit/policies.hpp>

#include <type_traits>

using namespace tether;
using namespace tether::detail;

namespace {

template <class Inhibition>
using group_of = detail::group_record<software_iommu, Inhibition>;

// A holder is there exactly where the policy looks at groups; where it does not, it takes no room.
static_assert(std::is_same_v<decltype(group_of<inhibit_per_group>::held), hold_entry>);
static_assert(std::is_same_v<decltype(group_of<inhibit_per_device>::held), hold_entry>);
static_assert(
    std::is_same_v<decltype(group_of<inhibit_per_container>::held), detail::no_hold_entry>);
static_assert(sizeof(group_of<inhibit_per_container>) == sizeof(group_of<no_inhibition>));
static_assert(sizeof(group_of<inhibit_per_group>) >=
              sizeof(group_of<no_inhibition>) + sizeof(hold_entry));

// The gate links holders where they lie, so a record never moves.
static_assert(!std::is_move_constructible_v<group_of<inhibit_per_group>>);

}  // namespace
