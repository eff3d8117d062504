// SPDX-License-Identifier: BSL-1.0
// Named slots: a policy is a small struct that says which slot it fills (`using slot = ...`), so policies
// are given in any order, each slot at most once, and a user's own is equal to a built-in one.
#pragma once

#include <boost/hana/count_if.hpp>
#include <boost/hana/find_if.hpp>
#include <boost/hana/optional.hpp>
#include <boost/hana/tuple.hpp>
#include <boost/hana/type.hpp>

#include <cstddef>
#include <type_traits>

namespace tether {

/// The rule for how many holds a container takes on discards.
struct inhibition_slot {};
/// How a section is cut into mappings.
struct granularity_slot {};
/// What happens to a section's ends that are not whole pages.
struct edges_slot {};
/// The observer, which is told what was mapped, trimmed or left out.
struct observation_slot {};
/// How calls from several threads are synchronised (must be the same as the gate's).
struct threading_slot {};
/// Whether KVM's VFIO device is told what is attached.
struct kvm_slot {};
/// The order of steps in attach and detach. A test hook: wrong plans must be found by the proof.
struct lifecycle_slot {};

/// Any policy: it names its slot.
template <class T>
concept policy = requires { typename T::slot; };

namespace detail {

template <class Slot, class Policy>
inline constexpr bool fills = false;
template <class Slot, policy Policy>
inline constexpr bool fills<Slot, Policy> = std::is_same_v<Slot, typename Policy::slot>;

template <class Slot>
inline constexpr auto in_slot = [](auto type) { return boost::hana::bool_c<fills<Slot, typename decltype(type)::type>>; };

template <class Slot, class Default, class... Policies>
consteval auto policy_chosen() {
  return boost::hana::find_if(boost::hana::tuple_t<Policies...>, in_slot<Slot>).value_or(boost::hana::type_c<Default>);
}

}  // namespace detail

/// The policy among `Policies` that fills `Slot`, or `Default`. Cost: none at run time.
template <class Slot, class Default, class... Policies>
using policy_for = typename decltype(detail::policy_chosen<Slot, Default, Policies...>())::type;

/// How many of `Policies` fill `Slot`.
template <class Slot, class... Policies>
inline constexpr std::size_t policies_in = (std::size_t{0} + ... + (detail::fills<Slot, Policies> ? 1 : 0));

/// Whether each of `Policies` fills one of `Slots`.
template <class Policy, class... Slots>
inline constexpr bool fills_one_of = (false || ... || detail::fills<Slots, Policy>);

}  // namespace tether
