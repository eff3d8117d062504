// SPDX-License-Identifier: BSL-1.0
// Ranks keep order and nothing else of a policy's numbers: none is none, equal is equal, more is
// more.
#include <tether/proof/model/ranks.hpp>

#include <tether/inhibit/policies.hpp>
#include <tether/proof/model/abstraction.hpp>

#include <cstdint>

namespace tether::proof {
namespace {

constexpr bool ranking_is_in_order() {
  ranking<5> numbers{};
  for (const std::uint32_t one : {20U, 0U, 10U, 20U, 4'000'000'000U, 0U, 10U}) numbers.add(one);
  return numbers.size == 3 && numbers.of(0) == 0 && numbers.of(10) == 1 && numbers.of(20) == 2 &&
         numbers.of(4'000'000'000U) == 3 && numbers.of(1) == 1 && numbers.of(11) == 2 &&
         numbers.of(4'000'000'001U) == 4;
}
static_assert(ranking_is_in_order());

struct in_tens {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return (group.attached && !group.consent_known ? 10 : 0) + 10 * group.declined;
  }
  static constexpr std::uint32_t holds(container_counts all) noexcept {
    return all.need_no_hold < all.members ? 77 : 0;
  }
};
inline std::uint32_t variable = 16;
struct no_constant {
  using slot = inhibition_slot;
  static std::uint32_t holds(group_counts group) noexcept { return group.attached ? variable : 0; }
};

template <class Policy>
constexpr bool keeps_order() {
  using needs = ranked<Policy, small_scope>;
  for (std::uint32_t code = 0; code < 36 * 36; ++code) {
    const auto counts = [](std::uint32_t from) {
      return group_counts{from % 3, from / 3 % 3, from / 9 % 2 != 0, from / 18 != 0};
    };
    const group_counts one = counts(code % 36);
    const group_counts other = counts(code / 36);
    const bool possible =
        (one.attached || one == group_counts{}) && (other.attached || other == group_counts{}) &&
        (one.consent_known || one.agreed == 0) && (other.consent_known || other.agreed == 0) &&
        one.open() <= 2 && other.open() <= 2;
    if (!possible) continue;
    if ((holds_needed<Policy>(one) < holds_needed<Policy>(other)) !=
        (needs::holds(one) < needs::holds(other)))
      return false;
    if ((holds_needed<Policy>(one) == 0) != (needs::holds(one) == 0)) return false;
  }
  return true;
}
static_assert(keeps_order<in_tens>() && keeps_order<inhibit_per_device>() &&
              keeps_order<inhibit_per_group>() && keeps_order<inhibit_per_container>());

using tens = ranked<in_tens, small_scope>;
static_assert(tens::holds(group_counts{0, 1, true, false}) == 2 &&
              tens::holds(group_counts{1, 1, true, true}) == 1);
static_assert(tens::holds(container_counts{2, 1}) == 1 && tens::holds(container_counts{2, 2}) == 0);
// Our own count without gaps, so in the lockstep a rank is the number of holds.
static_assert(ranked<inhibit_per_device, small_scope>::holds(group_counts{0, 2, true, false}) == 3);
// Beyond the world, where only mistaken code leads: something is something.
static_assert(tens::holds(group_counts{0, 9, true, true}) != 0 &&
              tens::holds(container_counts{1, 2}) == 0 && tens::holds(container_counts{9, 2}) == 1);

[[maybe_unused]] std::uint32_t asked_each_time() {
  return ranked<no_constant, small_scope>::holds(group_counts{0, 0, true, false});
}

}  // namespace
}  // namespace tether::proof
