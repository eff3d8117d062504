// SPDX-License-Identifier: BSL-1.0
// The slots of a configuration, as data: a new slot is one entry here, one name in
// `configuration`, and one sentence in `refusals.hpp` for a policy that it does not accept.
#pragma once

#include <tether/attach/kvm_device.hpp>
#include <tether/attach/tracing.hpp>
#include <tether/core/slots.hpp>
#include <tether/granule/concepts.hpp>
#include <tether/granule/edges.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/detail/truth_table.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/inhibit/threading.hpp>
#include <tether/listen/observation.hpp>

#include <boost/hana/all_of.hpp>
#include <boost/hana/any_of.hpp>
#include <boost/hana/find_if.hpp>
#include <boost/hana/optional.hpp>
#include <boost/hana/tuple.hpp>
#include <boost/hana/type.hpp>

#include <cstddef>
#include <type_traits>

namespace tether::detail {

/// A slot, the policy that fills it if none is given, and which policies it accepts.
template <class Slot, class Standard, template <class> class Accepts>
struct slot_entry {
  using slot = Slot;
  using standard = Standard;
  template <class Policy>
  static constexpr bool accepts = Accepts<Policy>::value;
};

template <class Policy>
using usable_inhibition =
    std::bool_constant<inhibition<Policy> && members_callable<Policy> && sound_rule<Policy>>;
template <class Policy>
using usable_granularity = std::bool_constant<granularity<Policy>>;
template <class Policy>
using usable_edges = std::bool_constant<edges<Policy>>;
template <class Policy>
using usable_observation =
    std::bool_constant<observation<Policy> && notifications_callable<Policy> &&
                       has_notifications<Policy>>;
template <class Policy>
using usable_tracing = std::bool_constant<tracing<Policy>>;
template <class Policy>
using usable_threading = std::true_type;  // compared with the gate's
template <class Policy>
using usable_kvm = std::bool_constant<kvm_policy<Policy>>;

/// All slots, in the order in which a user is told of them.
inline constexpr boost::hana::tuple<
    slot_entry<inhibition_slot, inhibit_per_group, usable_inhibition>,
    slot_entry<granularity_slot, whole_section, usable_granularity>,
    slot_entry<edges_slot, trim_edges, usable_edges>,
    slot_entry<observation_slot, no_observation, usable_observation>,
    slot_entry<tracing_slot, no_tracing, usable_tracing>,
    slot_entry<threading_slot, multi_threaded, usable_threading>,
    slot_entry<kvm_slot, no_kvm, usable_kvm>>
    slot_table{};

template <class Slot, class Policy>
inline constexpr bool fills = false;
template <class Slot, policy Policy>
inline constexpr bool fills<Slot, Policy> = std::is_same_v<Slot, typename Policy::slot>;

/// How many of `Policies` fill `Slot`.
template <class Slot, class... Policies>
inline constexpr std::size_t policies_in = (std::size_t{0} + ... + (fills<Slot, Policies> ? 1 : 0));

// Predicates over entries and policies. Named, because g++ 12 accepts no lambda in an alias
// template.
template <class Slot>
inline constexpr auto entry_is_of = [](auto entry) {
  return boost::hana::bool_c<std::is_same_v<typename decltype(entry)::slot, Slot>>;
};
template <class Slot>
inline constexpr auto policy_fills =
    [](auto type) { return boost::hana::bool_c<fills<Slot, typename decltype(type)::type>>; };
template <class Policy>
inline constexpr auto entry_is_filled_by =
    [](auto entry) { return boost::hana::bool_c<fills<typename decltype(entry)::slot, Policy>>; };
template <class... Policies>
inline constexpr auto at_most_once_among = [](auto entry) {
  return boost::hana::bool_c<policies_in<typename decltype(entry)::slot, Policies...> <= 1>;
};

template <class Slot>
consteval auto find_entry() {
  return *boost::hana::find_if(slot_table, entry_is_of<Slot>);
}
/// The table's entry for `Slot`.
template <class Slot>
using entry_of = decltype(find_entry<Slot>());

template <class Slot, class... Policies>
consteval auto find_policy() {
  return boost::hana::find_if(boost::hana::tuple_t<Policies...>, policy_fills<Slot>)
      .value_or(boost::hana::type_c<typename entry_of<Slot>::standard>);
}
/// The policy of `Slot`, as asked for, whether it is accepted or not; the standard one if there is
/// none.
template <class Slot, class... Policies>
using asked_for = typename decltype(find_policy<Slot, Policies...>())::type;

template <class Slot, class Policy>
inline constexpr bool accepts = entry_of<Slot>::template accepts<Policy>;

/// As asked for if the slot accepts it, else the standard one: the rest still compiles then, and
/// one sentence says what is wrong (`judgement.hpp`).
template <class Slot, class... Policies>
using policy_for =
    std::conditional_t<accepts<Slot, asked_for<Slot, Policies...>>, asked_for<Slot, Policies...>,
                       typename entry_of<Slot>::standard>;

template <class Policy>
inline constexpr bool fills_a_slot =
    boost::hana::value<decltype(boost::hana::any_of(slot_table, entry_is_filled_by<Policy>))>();
template <class... Policies>
inline constexpr bool each_slot_at_most_once = boost::hana::value<decltype(boost::hana::all_of(
    slot_table, at_most_once_among<Policies...>))>();

}  // namespace tether::detail
