// SPDX-License-Identifier: BSL-1.0
// What is asked of a rule beyond the worlds of a proof: right ones pass however they count, and
// each wrong one has its own fault.
#include <tether/inhibit/detail/truth_table.hpp>

#include <tether/inhibit/policies.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace tether {

using namespace detail;
namespace {

static_assert(sound_rule<inhibit_per_group> && sound_rule<inhibit_per_device> &&
              sound_rule<inhibit_per_container> && sound_rule<no_inhibition>);

/// A policy from a lambda over a group's counts, or a container's.
template <auto Rule>
struct of_group {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.attached ? Rule(group) : 0;
  }
};
template <auto Rule>
struct of_container {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(container_counts all) noexcept {
    return Rule(all.members - all.need_no_hold, all.need_no_hold);
  }
};
template <auto Rule>
struct admitting {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.attached && !group.needs_no_hold() ? 1 : 0;
  }
  static constexpr bool admits(group_counts group) noexcept {
    return Rule(group.agreed, group.declined);
  }
};
using u32 = std::uint32_t;

// However it counts.
static_assert(
    sound_rule<of_group<[](group_counts group) -> u32 { return group.needs_no_hold() ? 0 : 16; }>>);
static_assert(sound_rule<of_group<[](group_counts group) -> u32 {
  return (group.consent_known ? 0U : 10U) + 10 * group.declined;
}>>);
static_assert(sound_rule<of_group<[](group_counts group) -> u32 {
  return group.needs_no_hold() ? 0 : 1 + group.declined;
}>>);
static_assert(sound_rule<of_container<[](u32 pending, u32) -> u32 { return pending; }>>);
static_assert(
    sound_rule<of_container<[](u32 pending, u32) -> u32 { return pending != 0 ? 65'535 : 0; }>>);
// However it refuses: a limit may be anywhere.
static_assert(
    sound_rule<admitting<[](u32 agreed, u32 others) { return agreed == 0 || others == 0; }>>);
static_assert(
    sound_rule<admitting<[](u32 agreed, u32 others) { return agreed <= 8 && others <= 9; }>>);
static_assert(sound_rule<admitting<[](u32, u32 others) { return others == 0; }>>);

// Whether it needs a hold at all is the proof's business, not asked here.
static_assert(sound_rule<of_group<[](group_counts) -> u32 { return 0; }>> &&
              sound_rule<of_group<[](group_counts) -> u32 { return 1; }>>);

/// Right but for one count: wherever that is, it is found.
template <u32 At>
constexpr bool one_wrong_count_is_found =
    fault_of<of_group<[](group_counts group) -> u32 {
      return !group.consent_known || (group.declined != 0 && group.declined != At) ? 1 : 0;
    }>> == rule_fault::many_unlike_few &&
    fault_of<of_container<[](u32 pending, u32) -> u32 {
      return pending != 0 && pending != At ? 1 : 0;
    }>> == rule_fault::many_unlike_few;
static_assert(one_wrong_count_is_found<3> && one_wrong_count_is_found<4> &&
              one_wrong_count_is_found<11> && one_wrong_count_is_found<16>);
static_assert(one_wrong_count_is_found<31> && one_wrong_count_is_found<32> &&
              one_wrong_count_is_found<33>);
static_assert(one_wrong_count_is_found<0xffff> && one_wrong_count_is_found<0x1'0000> &&
              one_wrong_count_is_found<0x1'0001>);
static_assert(one_wrong_count_is_found<0x7fff'ffff> && one_wrong_count_is_found<0x8000'0000>);
/// Cut off after some bits.
template <u32 Mask>
constexpr bool cut_off_is_found =
    fault_of<of_group<[](group_counts group) -> u32 {
      return (group.consent_known ? 0U : 1U) + (group.declined & Mask);
    }>> != rule_fault::none &&
    fault_of<of_container<[](u32 pending, u32) -> u32 { return pending & Mask; }>> !=
        rule_fault::none;
static_assert(cut_off_is_found<3> && cut_off_is_found<0xf> && cut_off_is_found<0xff> &&
              cut_off_is_found<0xff'ffff> && cut_off_is_found<0x7fff'ffff>);

// One count against the other.
template <auto Rule>
constexpr rule_fault group_fault = fault_of<of_group<Rule>>;
template <auto Rule>
constexpr rule_fault container_fault = fault_of<of_container<Rule>>;
static_assert(group_fault<[](group_counts group) -> u32 {
                return !group.consent_known || group.agreed / 2 < group.declined ? 1 : 0;
              }> == rule_fault::many_unlike_few);
static_assert(group_fault<[](group_counts group) -> u32 {
                return !group.consent_known || group.agreed < 3 * group.declined ? 1 : 0;
              }> == rule_fault::many_unlike_few);
static_assert(
    container_fault<[](u32 pending, u32 free) -> u32 { return free < 100 * pending ? 1 : 0; }> ==
    rule_fault::many_unlike_few);
static_assert(
    fault_of<admitting<[](u32 agreed, u32 others) { return agreed % 4 == 0 || others == 0; }>> ==
    rule_fault::many_unlike_few);

static_assert(container_fault<[](u32, u32) -> u32 { return 1; }> == rule_fault::holds_for_nothing);
struct forgets_attached {
  using slot = inhibition_slot;
  static constexpr u32 holds(group_counts group) noexcept { return group.needs_no_hold() ? 0 : 1; }
};
static_assert(fault_of<forgets_attached> == rule_fault::holds_for_nothing);

// Closing, detaching, settling.
static_assert(group_fault<[](group_counts group) -> u32 {
                return group.needs_no_hold() ? 0 : group.declined != 0 ? 1 : 2;
              }> == rule_fault::more_after_a_close);
static_assert(group_fault<[](group_counts group) -> u32 {
                return group.needs_no_hold() ? 0 : 20 - std::min(group.declined, 10U);
              }> == rule_fault::more_after_a_close);
static_assert(group_fault<[](group_counts group) -> u32 {
                return group.needs_no_hold() ? 0 : 10 + (group.agreed == 0 ? 1U : 0U);
              }> == rule_fault::more_after_a_close);
static_assert(container_fault<[](u32 pending, u32) -> u32 {
                return pending == 0 ? 0 : pending == 1 ? 2 : 1;
              }> == rule_fault::more_after_a_close);
static_assert(container_fault<[](u32 pending, u32 free) -> u32 {
                return pending == 0 ? 0 : free == 0 ? 2 : 1;
              }> == rule_fault::more_after_a_close);
static_assert(container_fault<[](u32 pending, u32 free) -> u32 {
                return pending == 0 ? 0 : pending + 2 * free;
              }> == rule_fault::more_after_a_close);
static_assert(fault_of<admitting<[](u32, u32 others) { return others != 5; }>> ==
              rule_fault::more_after_a_close);

static_assert(
    group_fault<[](group_counts group) -> u32 { return group.needs_no_hold() ? 0 : 1U << 31U; }> ==
    rule_fault::too_many);
static_assert(group_fault<[](group_counts group) -> u32 {
                return group.needs_no_hold() ? 0 : 1 + 5'000 * group.declined;
              }> == rule_fault::too_many);
static_assert(container_fault<[](u32 pending, u32) -> u32 { return pending != 0 ? 65'536 : 0; }> ==
              rule_fault::too_many);

// What is no constant.
struct reads_a_variable {
  using slot = inhibition_slot;
  static inline bool mastering = true;
  static constexpr u32 holds(group_counts group) noexcept {
    return group.attached && mastering ? 1 : 0;
  }
};
struct reads_it_for_many {
  using slot = inhibition_slot;
  static inline bool mastering = true;
  static constexpr u32 holds(group_counts group) noexcept {
    return !group.attached ? 0 : group.declined < 15 || mastering ? 1 : 0;
  }
};
struct admits_by_a_variable {
  using slot = inhibition_slot;
  static inline bool strict = true;
  static constexpr u32 holds(group_counts group) noexcept {
    return group.attached && !group.needs_no_hold() ? 1 : 0;
  }
  static constexpr bool admits(group_counts group) noexcept {
    return group.agreed == 0 || group.declined == 0 || !strict;
  }
};
struct no_constant {
  using slot = inhibition_slot;
  static u32 holds(container_counts all) noexcept { return all.need_no_hold < all.members ? 1 : 0; }
};
template <class P>
constexpr bool no_constant_rule = inhibition<P> && !constant_rule<P> && !sound_rule<P>;
static_assert(no_constant_rule<reads_a_variable> && no_constant_rule<reads_it_for_many> &&
              no_constant_rule<admits_by_a_variable> && no_constant_rule<no_constant>);

}  // namespace
}  // namespace tether
