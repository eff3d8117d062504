// SPDX-License-Identifier: BSL-1.0
// The laws of the concept `inhibition`, for any policy that protects a pinning backend: ours, and a
// user's own. Judged by what can pin, which is computed here and not from the policy's counts.
#pragma once

#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/detail/truth_table.hpp>

#include <array>
#include <cstdint>

namespace tether::laws {

/// A container of two groups and what is really open in them.
struct small_world {
  container_counts container{};
  std::array<group_counts, 2> groups{};
};

template <inhibition Policy>
[[nodiscard]] constexpr std::uint32_t holds_of(small_world const& world) noexcept {
  std::uint32_t all = holds_needed<Policy>(world.container);
  for (auto const& group : world.groups) all += holds_needed<Policy>(group);
  return all;
}

/// Whether something can pin, or might as far as is known.
[[nodiscard]] constexpr bool may_pin(small_world const& world) noexcept {
  for (auto const& group : world.groups) {
    if (group.attached && (!group.consent_known || group.declined != 0)) return true;
  }
  return false;
}

/// Every world that can be reached with up to two devices of each sort open in a group, each
/// reached by legal changes that the policy admits. `visit(world, next, what)` for each transition.
template <inhibition Policy, class Visit>
constexpr bool for_each_transition(Visit visit) {
  for (std::uint32_t code = 0; code < 2 * 2 * 3 * 3 * 2 * 2 * 3 * 3; ++code) {
    small_world world{};
    std::uint32_t rest = code;
    bool possible = true;
    for (auto& group : world.groups) {
      group.attached = rest % 2 != 0, rest /= 2;
      group.consent_known = rest % 2 != 0, rest /= 2;
      group.agreed = rest % 3, rest /= 3;
      group.declined = rest % 3, rest /= 3;
      if (!group.attached && group != group_counts{}) possible = false;
      if (group.agreed != 0 && !group.consent_known) possible = false;
      if (!admitted<Policy>(group)) possible = false;
      world.container.members += group.attached ? 1U : 0U;
      world.container.need_no_hold += group.needs_no_hold() ? 1U : 0U;
    }
    if (!possible) continue;
    for (std::size_t at = 0; at < 2; ++at) {
      for (const change what : {change::attach, change::detach, change::open, change::close}) {
        for (const consent agrees : {consent::none, consent::given}) {
          group_counts const& group = world.groups[at];
          const std::uint32_t open_ones = agrees == consent::given ? group.agreed : group.declined;
          const bool legal = what == change::attach   ? !group.attached
                             : what == change::detach ? group.attached && group.open() == 0
                             : what == change::open   ? group.attached && open_ones < 2
                                                      : open_ones != 0;
          if (!legal) continue;
          small_world next = world;
          apply_change(next.container, next.groups[at], what, agrees);
          if (what == change::open && !admitted<Policy>(next.groups[at])) continue;
          if (!visit(world, next, what)) return false;
        }
      }
    }
  }
  return true;
}

/// Holds exactly when something may pin: no stale mapping, and no needless refusal.
template <inhibition Policy>
[[nodiscard]] constexpr bool holds_exactly_while_needed() {
  return for_each_transition<Policy>([](small_world const& world, small_world const& next, change) {
    return (holds_of<Policy>(world) != 0) == may_pin(world) &&
           (holds_of<Policy>(next) != 0) == may_pin(next);
  });
}
/// Closing and detaching need no hold that is not there already, in any scope: so they cannot be
/// refused.
template <inhibition Policy>
[[nodiscard]] constexpr bool closing_never_needs_a_hold() {
  return for_each_transition<Policy>(
      [](small_world const& world, small_world const& next, change what) {
        if (what != change::close && what != change::detach) return true;
        if (holds_needed<Policy>(next.container) > holds_needed<Policy>(world.container))
          return false;
        for (std::size_t at = 0; at < 2; ++at) {
          if (holds_needed<Policy>(next.groups[at]) > holds_needed<Policy>(world.groups[at]))
            return false;
        }
        return true;
      });
}
/// An attach releases no hold: the counts are updated after the pin point, and nothing is lowered
/// before.
template <inhibition Policy>
[[nodiscard]] constexpr bool attaching_releases_nothing() {
  return for_each_transition<Policy>(
      [](small_world const& world, small_world const& next, change what) {
        if (what != change::attach) return true;
        if (holds_needed<Policy>(next.container) < holds_needed<Policy>(world.container))
          return false;
        for (std::size_t at = 0; at < 2; ++at) {
          if (holds_needed<Policy>(next.groups[at]) < holds_needed<Policy>(world.groups[at]))
            return false;
        }
        return true;
      });
}
/// With nothing attached nothing is held.
template <inhibition Policy>
[[nodiscard]] constexpr bool an_empty_container_holds_nothing() {
  return holds_of<Policy>(small_world{}) == 0;
}

/// Any number of groups and devices is treated as two are, and the rule is a constant expression:
/// else what holds in one world says nothing about another.
template <inhibition Policy>
[[nodiscard]] constexpr bool treats_many_as_few() {
  return members_callable<Policy> && detail::sound_rule<Policy>;
}

template <inhibition Policy>
inline constexpr bool keeps_the_laws_of_inhibition =
    treats_many_as_few<Policy>() && holds_exactly_while_needed<Policy>() &&
    closing_never_needs_a_hold<Policy>() && attaching_releases_nothing<Policy>() &&
    an_empty_container_holds_nothing<Policy>();

}  // namespace tether::laws
