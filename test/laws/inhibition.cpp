// SPDX-License-Identifier: BSL-1.0
// Our three policies and one that a user might write keep the laws; six that look right do not.
#include <laws/inhibition.hpp>

#include <tether/inhibit/policies.hpp>

#include <doctest/doctest.h>

#include <cstdint>

namespace laws_inhibition {

using namespace tether;
using namespace tether::laws;

namespace {

/// A user's: a hold for the container and one more for each group, so that listings tell which.
struct belt_and_braces {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(container_counts container) noexcept {
    return container.need_no_hold < container.members ? 1 : 0;
  }
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.attached && !group.needs_no_hold() ? 1 : 0;
  }
};

struct forgets_what_has_no_device {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept { return group.declined; }
};
struct holds_for_ever {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.attached ? 1 : 0;
  }
};
struct never {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts) noexcept { return 0; }
};
struct believes_the_first {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(container_counts container) noexcept {
    return container.members != 0 && container.need_no_hold == 0 ? 1 : 0;
  }
};
struct takes_it_back_at_close {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.attached && (group.agreed == 0 || group.declined != 0) ? 1 : 0;
  }
};
struct one_agreement_is_enough {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.attached && !group.consent_known ? 1 : 0;
  }
};

static_assert(keeps_the_laws_of_inhibition<inhibit_per_container>);
static_assert(keeps_the_laws_of_inhibition<inhibit_per_group>);
static_assert(keeps_the_laws_of_inhibition<inhibit_per_device>);
static_assert(keeps_the_laws_of_inhibition<belt_and_braces>);

static_assert(!keeps_the_laws_of_inhibition<forgets_what_has_no_device>);
static_assert(!keeps_the_laws_of_inhibition<holds_for_ever>);
static_assert(!keeps_the_laws_of_inhibition<never>);
static_assert(!keeps_the_laws_of_inhibition<believes_the_first>);
static_assert(!keeps_the_laws_of_inhibition<takes_it_back_at_close> &&
              !closing_never_needs_a_hold<takes_it_back_at_close>());
static_assert(!keeps_the_laws_of_inhibition<one_agreement_is_enough>);
static_assert(!keeps_the_laws_of_inhibition<no_inhibition>);

}  // namespace

TEST_CASE(
    "each inhibition policy holds exactly while somebody may pin, and closing never needs a hold") {
  CHECK(keeps_the_laws_of_inhibition<inhibit_per_container>);
  CHECK(keeps_the_laws_of_inhibition<inhibit_per_group>);
  CHECK(keeps_the_laws_of_inhibition<inhibit_per_device>);
}

}  // namespace laws_inhibition
