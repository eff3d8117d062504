// SPDX-License-Identifier: BSL-1.0
// An inhibition policy: one or two pure functions from membership counts (`membership.hpp`) to a
// number of holds. It has no state and cannot express a wrong order: the order of steps belongs to
// the plans (law 10).
#pragma once

#include <tether/core/attachment.hpp>
#include <tether/core/detail/member_name.hpp>
#include <tether/core/slots.hpp>
#include <tether/inhibit/membership.hpp>

#include <concepts>
#include <cstdint>
#include <type_traits>

namespace tether {

namespace detail {

struct holds_name {
  int holds;
  template <class T>
  static constexpr bool finds = requires { &T::holds; };
};
struct admits_name {
  int admits;
  template <class T>
  static constexpr bool finds = requires { &T::admits; };
};
struct never_inhibits_name {
  int never_inhibits;
  template <class T>
  static constexpr bool finds = requires { &T::never_inhibits; };
};

/// A wider result would be truncated to 32 bits: 2^32 holds would become 0.
template <class T>
concept count_of_holds = std::integral<T> && sizeof(T) <= sizeof(std::uint32_t);

}  // namespace detail

/// Has a number of holds for the counts of a group:
/// `static constexpr std::uint32_t holds(group_counts) noexcept`.
template <class P>
concept holds_for_a_group = requires(group_counts const group) {
  { P::holds(group) } noexcept -> detail::count_of_holds;
};
/// Has a number of holds for the counts of a container:
/// `static constexpr std::uint32_t holds(container_counts) noexcept`.
template <class P>
concept holds_for_a_container = requires(container_counts const container) {
  { P::holds(container) } noexcept -> detail::count_of_holds;
};
/// Can refuse an open by the counts that it would lead to:
/// `static constexpr bool admits(group_counts) noexcept`.
template <class P>
concept admits_some = requires(group_counts const group) {
  { P::admits(group) } noexcept -> std::convertible_to<bool>;
};
/// Declares that it never takes a hold: `static constexpr bool never_inhibits = true`. Just leaving
/// out `holds` is not enough, because it might be a mistake.
template <class P>
concept never_inhibits = requires {
  typename std::bool_constant<P::never_inhibits>;
  requires P::never_inhibits;
};

/// An inhibition policy.
/// Minimal: `using slot = tether::inhibition_slot`, and `holds` for a group, for a container, or
/// for both.
/// Optional: `static constexpr bool admits(group_counts) noexcept`, false for counts that an open
/// may not lead to.
/// Laws: a pure rule, a constant expression for any counts; no holds where nothing is attached, nor
/// for groups that need none; many groups and devices are treated as few (`truth_table.hpp`); see
/// `laws/inhibition.hpp`.
/// Models: `inhibit_per_container`, `inhibit_per_group`, `inhibit_per_device`, `no_inhibition`.
template <class P>
concept inhibition = policy<P> && std::same_as<typename P::slot, inhibition_slot> &&
                     (never_inhibits<P> || holds_for_a_group<P> || holds_for_a_container<P>);

namespace detail {

/// `holds` can be called in some way: on an object, with an argument that it may modify, or
/// throwing.
template <class P, class Counts>
concept holds_somehow = requires(P& policy, Counts counts) { policy.holds(counts); } ||
                        requires(P& policy) { policy.holds(Counts{}); };

}  // namespace detail

/// Whether each member of an inhibition policy can be called as tether calls it (public, static,
/// noexcept). One that cannot would silently never be called.
template <class P>
concept members_callable =
    (holds_for_a_group<P> || !detail::holds_somehow<P, group_counts>) &&
    (holds_for_a_container<P> || !detail::holds_somehow<P, container_counts>) &&
    (holds_for_a_group<P> || holds_for_a_container<P> ||
     !detail::has_member<P, detail::holds_name>) &&
    (admits_some<P> || !detail::has_member<P, detail::admits_name>) &&
    (!detail::has_member<P, detail::never_inhibits_name> || requires {
      typename std::bool_constant<P::never_inhibits>;
    }) && !(never_inhibits<P> && detail::has_member<P, detail::holds_name>);

/// Holds that `Policy` needs for a group, 0 if it has no rule for groups.
template <inhibition Policy>
[[nodiscard]] constexpr std::uint32_t holds_needed([[maybe_unused]] group_counts group) noexcept {
  if constexpr (holds_for_a_group<Policy>) return Policy::holds(group);
  else return 0;
}
/// Holds that `Policy` needs for a container, 0 if it has no rule for containers.
template <inhibition Policy>
[[nodiscard]] constexpr std::uint32_t holds_needed(
    [[maybe_unused]] container_counts container) noexcept {
  if constexpr (holds_for_a_container<Policy>) return Policy::holds(container);
  else return 0;
}
/// Whether `Policy` admits an open that leads to these counts of a group.
template <inhibition Policy>
[[nodiscard]] constexpr bool admitted([[maybe_unused]] group_counts group) noexcept {
  if constexpr (admits_some<Policy>) return Policy::admits(group);
  else return true;
}

/// The answer to a device that is to be opened or attached.
enum class verdict : std::uint8_t { allowed, consent_refused, mixed_group };

/// Judges a device before anything is touched: what pins for good cannot agree to discards (law 2),
/// and the policy must admit the counts of its group as they will be. Pure: the runtime and the
/// proof call this very function.
template <inhibition Policy>
[[nodiscard]] constexpr verdict judge(group_counts after, consent agrees, pin_class pins) noexcept {
  if (agrees == consent::given && pins != pin_class::pins_on_demand)
    return verdict::consent_refused;
  return admitted<Policy>(after) ? verdict::allowed : verdict::mixed_group;
}

}  // namespace tether
