// SPDX-License-Identifier: BSL-1.0
// What an inhibition policy is: one or two pure functions from the books to a number of holds. It has no
// state and cannot express a wrong order; orders are the plans' (law 10).
#pragma once

#include <tether/core/policies.hpp>
#include <tether/inhibit/books.hpp>

#include <concepts>
#include <cstdint>

namespace tether {

/// Says how many holds a group's books need: `static constexpr std::uint32_t holds(group_tally) noexcept`.
template <class P>
concept holds_for_a_group = requires(group_tally group) {
  { P::holds(group) } noexcept -> std::convertible_to<std::uint32_t>;
};
/// Says how many a container's books need: `static constexpr std::uint32_t holds(container_tally) noexcept`.
template <class P>
concept holds_for_a_container = requires(container_tally container) {
  { P::holds(container) } noexcept -> std::convertible_to<std::uint32_t>;
};
/// Says outright that it never holds: `static constexpr bool never_inhibits = true`. Silence is not enough, it might be a slip.
template <class P>
concept never_inhibits = requires { requires P::never_inhibits; };

/// An inhibition policy.
/// Minimal: `using slot = tether::inhibition_slot`, and `holds` for a group, for a container, or for both.
/// Optional: `static constexpr bool admits(group_tally) noexcept`, false for books that an open may not lead to.
/// Laws: zero holds for books with nothing attached; settled groups need none; see `test/laws/inhibition.hpp`.
/// Models: `inhibit_per_container`, `inhibit_per_group`, `inhibit_per_device`, `no_inhibition`.
template <class P>
concept inhibition = policy<P> && std::same_as<typename P::slot, inhibition_slot> &&
                     (never_inhibits<P> || holds_for_a_group<P> || holds_for_a_container<P>);

/// What `Policy` needs for a group, 0 if it does not look at groups.
template <inhibition Policy>
[[nodiscard]] constexpr std::uint32_t holds_needed([[maybe_unused]] group_tally group) noexcept {
  if constexpr (holds_for_a_group<Policy>) return Policy::holds(group);
  else return 0;
}
/// What `Policy` needs for a container, 0 if it does not look at containers.
template <inhibition Policy>
[[nodiscard]] constexpr std::uint32_t holds_needed([[maybe_unused]] container_tally container) noexcept {
  if constexpr (holds_for_a_container<Policy>) return Policy::holds(container);
  else return 0;
}
/// Whether `Policy` lets a group's books become these.
template <inhibition Policy>
[[nodiscard]] constexpr bool admitted([[maybe_unused]] group_tally group) noexcept {
  if constexpr (requires { { Policy::admits(group) } noexcept -> std::convertible_to<bool>; }) return Policy::admits(group);
  else return true;
}

}  // namespace tether
