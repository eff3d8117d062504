// SPDX-License-Identifier: BSL-1.0
// Judges a configuration: finds the first thing that is wrong with it, and only that, so that a
// mistake is one error. The order: the backend, whether each policy is one, the inhibition, the
// other policies.
#pragma once

#include <tether/attach/detail/refusals.hpp>
#include <tether/attach/detail/slot_table.hpp>
#include <tether/attach/kvm_device.hpp>
#include <tether/attach/tracing.hpp>
#include <tether/backend/concepts.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/slots.hpp>
#include <tether/granule/concepts.hpp>
#include <tether/granule/edges.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/detail/truth_table.hpp>
#include <tether/listen/observation.hpp>

#include <type_traits>

namespace tether::detail {

/// Nothing is wrong.
struct not_refused {};

template <class Refusal>
inline constexpr std::type_identity<Refusal> refused_as{};
template <class Judgement>
inline constexpr bool refuses = !std::is_same_v<typename Judgement::type, not_refused>;

template <class Backend>
consteval auto judge_backend() noexcept {
  if constexpr (!has_backend_traits<Backend> && policy<Backend>)
    return refused_as<no_backend_but_a_policy<Backend>>;
  else if constexpr (!has_backend_traits<Backend>)
    return refused_as<backend_without_traits<Backend>>;
  else if constexpr (!maps_memory<Backend>) return refused_as<backend_that_maps_nothing<Backend>>;
  else if constexpr (!has_limits<Backend>) return refused_as<backend_without_limits<Backend>>;
  else if constexpr (Backend::unit == attach_unit::group && !takes_groups<Backend>)
    return refused_as<backend_without_groups<Backend>>;
  else if constexpr (Backend::unit == attach_unit::group && !opens_devices<Backend>)
    return refused_as<backend_without_devices<Backend>>;
  else if constexpr (Backend::unit != attach_unit::group && !attaches_devices<Backend>)
    return refused_as<backend_without_single_devices<Backend>>;
  else if constexpr (!quiesces<Backend> || !can_be_abandoned<Backend>)
    return refused_as<backend_that_never_ends<Backend>>;
  else if constexpr (!options_usable<Backend>)
    return refused_as<backend_with_unusable_options<Backend>>;
  else return refused_as<not_refused>;
}

/// Whether each is a policy.
template <class... None>
  requires(sizeof...(None) == 0)
consteval auto judge_slots() noexcept {
  return refused_as<not_refused>;
}
template <class Policy, class... Others>
consteval auto judge_slots() noexcept {
  if constexpr (hides_its_slot<Policy>) return refused_as<policy_with_hidden_slot<Policy>>;
  else if constexpr (!fills_a_slot<Policy>) return refused_as<policy_without_slot<Policy>>;
  else return judge_slots<Others...>();
}

template <class Inhibition>
consteval auto judge_inhibition() noexcept {
  if constexpr (!inhibition<Inhibition>) return refused_as<inhibition_that_never_says<Inhibition>>;
  else if constexpr (!members_callable<Inhibition>)
    return refused_as<inhibition_never_asked<Inhibition>>;
  else if constexpr (!constant_rule<Inhibition>)
    return refused_as<inhibition_not_constant<Inhibition>>;
  else if constexpr (!sound_rule<Inhibition>)
    return refused_as<inhibition_of_unsound_rule<Inhibition, fault_of<Inhibition>>>;
  else return refused_as<not_refused>;
}

template <class Granularity, class Edges, class Observer, class Tracer, class Kvm>
consteval auto judge_other_policies() noexcept {
  if constexpr (!cuts_sections<Granularity>)
    return refused_as<granularity_that_cannot_cut<Granularity>>;
  else if constexpr (!granularity<Granularity>)
    return refused_as<granularity_of_unsound_blocks<Granularity>>;
  else if constexpr (!edges<Edges>) return refused_as<edges_that_never_say<Edges>>;
  else if constexpr (!observation<Observer>) return refused_as<observer_without_default<Observer>>;
  else if constexpr (!notifications_callable<Observer>)
    return refused_as<observer_never_told<Observer>>;
  else if constexpr (!has_notifications<Observer>)
    return refused_as<observer_by_another_name<Observer>>;
  else if constexpr (!tracing<Tracer>) return refused_as<tracer_never_told<Tracer>>;
  else if constexpr (!kvm_policy<Kvm>) return refused_as<kvm_that_cannot_be_told<Kvm>>;
  else return refused_as<not_refused>;
}

template <class Backend, class... Policies>
consteval auto judge() noexcept {
  using inhibition = asked_for<inhibition_slot, Policies...>;
  using kvm = asked_for<kvm_slot, Policies...>;
  using of_backend = decltype(judge_backend<Backend>());
  using of_slots = decltype(judge_slots<Policies...>());
  using of_inhibition = decltype(judge_inhibition<inhibition>());
  using of_others = decltype(judge_other_policies<asked_for<granularity_slot, Policies...>,
                                                  asked_for<edges_slot, Policies...>,
                                                  asked_for<observation_slot, Policies...>,
                                                  asked_for<tracing_slot, Policies...>, kvm>());
  if constexpr (refuses<of_backend>) return of_backend{};
  else if constexpr (refuses<of_slots>) return of_slots{};
  else if constexpr (!each_slot_at_most_once<Policies...>)
    return refused_as<policies_for_one_slot<Policies...>>;
  else if constexpr (refuses<of_inhibition>) return of_inhibition{};
  else if constexpr (unprotected<Backend, inhibition>)
    return refused_as<backend_that_nobody_protects<Backend, inhibition>>;
  else if constexpr (refuses<of_others>) return of_others{};
  else if constexpr (!tellable<Backend, kvm>)
    return refused_as<backend_without_descriptors<Backend, kvm>>;
  else return refused_as<not_refused>;
}

/// What is wrong with a configuration, as a class whose instantiation is the error; `not_refused`
/// if nothing is.
template <class Backend, class... Policies>
using refusal_of = typename decltype(judge<Backend, Policies...>())::type;

}  // namespace tether::detail
