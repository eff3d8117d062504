// SPDX-License-Identifier: BSL-1.0
// What must hold after every event (law 29). Judged by the facts of the state; by the code's own
// counts only where the property is that the code agrees with itself.
#pragma once

#include <tether/core/attachment.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/kinds.hpp>
#include <tether/proof/model/abstraction.hpp>
#include <tether/proof/model/kernel.hpp>
#include <tether/proof/model/ranks.hpp>
#include <tether/proof/model/state.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tether::proof {

/// Each comment says when it is broken. If several are, the first of them is reported.
enum class property : std::uint8_t {
  stale_mapping,  ///< a device has one page pinned and the CPU has another
  /// at rest the gate is closed, although nothing can pin what a discard could touch
  needless_refusal,
  /// at rest the holds held are not the holds needed, or the gate counts a leaked one
  unbalanced_holds,
  /// at rest the counts are not what the kernel has, or a failure has left something
  left_behind,
  wrong_counts,      ///< the container's counts are not the sum of its groups'
  forbidden_call,    ///< the kernel is asked for what it must refuse
  mixed_membership,  ///< a membership is one that the policy does not admit
  unbounded_counts,  ///< a count exceeds what the model has devices for
};
/// How many properties there are.
inline constexpr std::size_t properties = 8;

/// A set of them.
using broken_properties = std::uint32_t;
[[nodiscard]] constexpr broken_properties bit(property which) noexcept {
  return 1U << static_cast<unsigned>(which);
}
inline constexpr broken_properties every_property = (1U << properties) - 1;

/// How the sentence about a broken property begins.
[[nodiscard]] constexpr std::string_view name_of(property which) noexcept {
  constexpr std::array<std::string_view, properties> names{
      "stale mapping",           "needless refusal",    "holds unbalanced",
      "something left behind",   "counts are wrong",    "the kernel must refuse",
      "membership not admitted", "counts without bound"};
  return names[static_cast<std::size_t>(which)];
}
/// The first of a set. Requires: it is not empty.
[[nodiscard]] constexpr property first_of(broken_properties set) noexcept {
  std::uint8_t at = 0;
  while ((set >> at & 1U) == 0) ++at;
  return static_cast<property>(at);
}

/// Whether the gate permits an uncoordinated discard.
template <class Abstraction, class Scope>
[[nodiscard]] constexpr bool gate_open(world<Scope> const& here) noexcept {
  gate_counts counts{};
  counts.of(Abstraction::holds) = here.holds();
  return counts.allow(discard_kind::uncoordinated);
}

/// What is broken in a container with no operation in progress.
template <class Abstraction, class Scope>
[[nodiscard]] constexpr broken_properties broken_at_rest(
    container_state<Scope> const& container) noexcept {
  using policy = typename Abstraction::inhibition_type;
  using needs = ranked<policy, Scope>;
  constexpr bool of_groups = Abstraction::unit == attach_unit::group;
  constexpr bool tells = tells_of<typename Abstraction::lifecycle> && of_groups;
  bool balanced = container.held == needs::holds(container.counts());
  bool tidy = (container.page != page_relation::none) == reaches<Abstraction::unit>(container);
  bool right = true;
  bool anything = false;
  std::uint32_t held = container.held;
  for (group_state const& group : container.groups) {
    const bool there = of_groups ? group.joined : group.declining + group.consenting != 0;
    balanced = balanced && group.held == needs::holds(group.counts);
    tidy = tidy && group.counts.attached == there && group.counts.declined == group.declining &&
           group.counts.agreed == group.consenting && group.in_kvm == (tells && there) &&
           group.acquired == (tells && there);
    right = right && admitted<policy>(group.counts);
    anything = anything || there;
    held += group.held;
  }
  balanced = balanced && (anything || held == 0);
  return (balanced ? 0U : bit(property::unbalanced_holds)) |
         (tidy ? 0U : bit(property::left_behind)) | (right ? 0U : bit(property::mixed_membership));
}

/// Whether the gate is closed though nothing can pin. Judged only where every container is at rest
/// and every attached group has a device open: then it is known who pins.
template <class Abstraction, class Scope>
[[nodiscard]] constexpr bool refuses_needlessly(world<Scope> const& here) noexcept {
  for (auto const& container : here.containers) {
    if (!container.at_rest() || container.diverged) return false;
    for (group_state const& group : container.groups) {
      if (group.joined && group.declining + group.consenting == 0) return false;
    }
    if (can_pin<Abstraction>(container)) return false;
  }
  return !gate_open<Abstraction>(here);
}

/// Whether a device reaches another page than the CPU.
template <class Scope>
[[nodiscard]] constexpr broken_properties stale_in(world<Scope> const& here) noexcept {
  for (auto const& container : here.containers) {
    if (container.page == page_relation::pinned_other) return bit(property::stale_mapping);
  }
  return 0;
}
/// What is broken in a state. After an event of the balloon or the guest, only `stale_in` can have
/// changed.
template <class Abstraction, class Scope>
[[nodiscard]] constexpr broken_properties broken_in(world<Scope> const& here) noexcept {
  broken_properties all = stale_in(here) | (here.leaked ? bit(property::unbalanced_holds) : 0U);
  for (auto const& container : here.containers) {
    if (container.at_rest() && !container.diverged) all |= broken_at_rest<Abstraction>(container);
  }
  if (refuses_needlessly<Abstraction>(here)) all |= bit(property::needless_refusal);
  return all;
}

}  // namespace tether::proof
