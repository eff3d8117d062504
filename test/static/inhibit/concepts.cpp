// SPDX-License-Identifier: BSL-1.0
// What is an inhibition policy, and what only looks like one.
#include <tether/inhibit/concepts.hpp>

#include <cstdint>

namespace tether {
namespace {

struct by_group {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts) noexcept { return 1; }
};
struct by_container {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(container_counts) noexcept { return 2; }
  static constexpr bool admits(group_counts group) noexcept { return group.declined == 0; }
};
struct silent {
  using slot = inhibition_slot;
};
struct may_throw {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts) { return 1; }
};
struct in_another_slot {
  using slot = granularity_slot;
  static constexpr std::uint32_t holds(group_counts) noexcept { return 1; }
};
struct in_no_slot {
  static constexpr std::uint32_t holds(group_counts) noexcept { return 1; }
};
struct says_no_to_never {
  using slot = inhibition_slot;
  static constexpr bool never_inhibits = false;
};

static_assert(inhibition<by_group> && inhibition<by_container>);
static_assert(!inhibition<silent> && !inhibition<may_throw> && !inhibition<in_another_slot> &&
              !inhibition<in_no_slot> && !inhibition<says_no_to_never>);
static_assert(holds_needed<by_group>(group_counts{}) == 1 &&
              holds_needed<by_group>(container_counts{}) == 0);
static_assert(holds_needed<by_container>(group_counts{}) == 0 &&
              holds_needed<by_container>(container_counts{}) == 2);
static_assert(admitted<by_group>(group_counts{0, 1}) &&
              !admitted<by_container>(group_counts{0, 1}));

// What pins for good cannot agree, whatever the policy; then the policy decides.
static_assert(judge<by_group>({1, 0}, consent::given, pin_class::pins) == verdict::consent_refused);
static_assert(judge<by_container>({1, 1}, consent::given, pin_class::pins) ==
              verdict::consent_refused);
static_assert(judge<by_group>({1, 1}, consent::given, pin_class::pins_on_demand) ==
              verdict::allowed);
static_assert(judge<by_container>({1, 1}, consent::given, pin_class::pins_on_demand) ==
              verdict::mixed_group);
static_assert(judge<by_container>({0, 1}, consent::none, pin_class::pins) == verdict::mixed_group &&
              judge<by_container>({}, consent::none, pin_class::pins) == verdict::allowed);

}  // namespace
}  // namespace tether
