// SPDX-License-Identifier: BSL-1.0
// All that a user writes: `static_assert(tether::proven_safe<my_container>)`. If it fails, the
// compiler prints a shortest counterexample:
//
//     counterexample<{"stale mapping after: attach IOMMU-backed group 0: join container; ...;
//                      balloon discards; guest touches"}>
#pragma once

#include <tether/attach/lifecycle/plan_rules.hpp>
#include <tether/fwd.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/detail/truth_table.hpp>
#include <tether/proof/model/abstraction.hpp>
#include <tether/proof/model/property.hpp>
#include <tether/proof/search/at_compile_time.hpp>
#include <tether/proof/search/coverage.hpp>
#include <tether/proof/search/trace_text.hpp>
#include <tether/proof/units/coverage.hpp>
#include <tether/proof/units/machinery.hpp>
#include <tether/proof/units/trace_text.hpp>

#include <type_traits>

namespace tether {
namespace proof {

/// The verdicts. They are types, because a compiler prints types.
struct nothing_wrong {};
/// A property is broken, and these events lead there.
template <fixed_string Trace>
struct counterexample {};
/// Nothing was broken, but the search did not reach all that it must: it proves nothing.
template <fixed_string Missing>
struct never_reached {};

/// The policy has a fault that the search would miss: in how it is called, or in what it answers
/// for more groups and devices than the small scope has.
template <fixed_string Why>
struct refused_policy {};
/// It is not what can be proven, such as a policy by itself.
template <fixed_string Why>
struct not_a_container {};
/// A plan lacks acts that its operation must contain, or has an act without its prerequisite.
template <fixed_string Why>
struct refused_plans {};

namespace detail {

/// The sentences of `attach/configuration.hpp`, which refuses a container for the same faults.
template <class Policy>
constexpr auto judge_policy() noexcept {
  if constexpr (!members_callable<Policy>) {
    return std::type_identity<refused_policy<
        "tether[I8]: a member would never be asked: make it public, static, constexpr, "
        "noexcept and of the right types">>{};
  } else if constexpr (!tether::detail::constant_rule<Policy>) {
    return std::type_identity<refused_policy<
        "tether[I9]: an answer is no constant expression: make 'holds' and 'admits' constexpr, and "
        "let them read nothing but their argument">>{};
  } else if constexpr (tether::detail::fault_of<Policy> ==
                       tether::detail::rule_fault::holds_for_nothing) {
    return std::type_identity<
        refused_policy<"tether[I10]: it needs a hold where nothing is attached">>{};
  } else if constexpr (tether::detail::fault_of<Policy> ==
                       tether::detail::rule_fault::more_after_a_close) {
    return std::type_identity<
        refused_policy<"tether[I11]: it needs more holds after a close or detach, or does not "
                       "admit what is left">>{};
  } else if constexpr (tether::detail::fault_of<Policy> ==
                       tether::detail::rule_fault::many_unlike_few) {
    return std::type_identity<
        refused_policy<"tether[I12]: it treats many groups or devices otherwise than two">>{};
  } else if constexpr (tether::detail::fault_of<Policy> == tether::detail::rule_fault::too_many) {
    return std::type_identity<refused_policy<
        "tether[I13]: it needs more than 65,535 holds for at most 16 devices or groups">>{};
  } else {
    return std::type_identity<nothing_wrong>{};
  }
}

/// What must be reached of which model, and in which a counterexample is told: step by step.
template <class Abstraction>
struct small_model {
  using scope = small_scope;
  using told = small_scope;
  static constexpr coverage wanted = demanded<Abstraction>();
};
template <hold_kind Holds, class Machinery>
struct small_model<unit_abstraction<Holds, Machinery>> {
  using scope = small_unit_scope;
  using told = unit_scope<scope::containers, scope::sources>;
  static constexpr unit_coverage wanted = demanded_of_units<scope>();
};

template <class Abstraction>
struct searched {
  using small = small_model<Abstraction>;
  static constexpr auto const& search =
      explored<Abstraction, typename small::scope, every_property>;
  static constexpr auto missing = search.now.reached.lacks(small::wanted);
  static constexpr sentence text =
      search.now.broken != 0
          ? describe_trace(explored<Abstraction, typename small::told>.now.broken,
                           counterexample_of<Abstraction, typename small::told>)
          : describe_trace(missing);

  static constexpr auto decide() noexcept {
    if constexpr (search.now.broken != 0)
      return std::type_identity<counterexample<fixed_string<text.length>{text}>>{};
    else if constexpr (!missing.empty())
      return std::type_identity<never_reached<fixed_string<text.length>{text}>>{};
    else return std::type_identity<nothing_wrong>{};
  }
};

/// A policy that cannot be evaluated inside the compiler is not searched. Otherwise what the search
/// found is reported before other faults: it shows how the failure comes about.
template <class Abstraction>
struct judged {
  using policy = typename Abstraction::inhibition_type;

  static constexpr auto decide() noexcept {
    if constexpr (!members_callable<policy> || !tether::detail::constant_rule<policy>) {
      return judge_policy<policy>();
    } else {
      constexpr auto found = searched<Abstraction>::decide();
      if constexpr (!std::is_same_v<typename decltype(found)::type, nothing_wrong>) return found;
      else if constexpr (tether::detail::fault_of<policy> != tether::detail::rule_fault::none)
        return judge_policy<policy>();
      else if constexpr (!well_formed_lifecycle<typename Abstraction::lifecycle>)
        return std::type_identity<refused_plans<"L1: not well formed">>{};
      else return found;
    }
  }
  using type = typename decltype(decide())::type;
};
template <hold_kind Holds, class Machinery>
struct judged<unit_abstraction<Holds, Machinery>> {
  using type = typename decltype(searched<unit_abstraction<Holds, Machinery>>::decide())::type;
};

template <class Configuration>
struct verdict_found {
  using type = not_a_container<
      "tether[V2]: proven_safe takes a container<Backend, Policies...>, whose policies it proves "
      "together">;
};
template <class Abstraction>
  requires(is_abstraction<Abstraction> || is_unit_abstraction<Abstraction>)
struct verdict_found<Abstraction> : judged<Abstraction> {};
/// Of a container that follows units both models are searched: who holds discards down, and who
/// discards beside it.
template <class Backend, class... Policies>
struct verdict_found<container<Backend, Policies...>> {
  using whole = container<Backend, Policies...>;
  // A container that is refused is refused here, and not deep within the proof.
  static_assert(sizeof(whole) != 0);

  static constexpr auto decide() noexcept {
    using first = typename judged<typename abstraction_found<whole>::type>::type;
    if constexpr (std::is_same_v<first, nothing_wrong>) {
      if constexpr (follows_units<whole>)
        return std::type_identity<typename judged<unit_abstraction_of<whole>>::type>{};
      else return std::type_identity<first>{};
    } else {
      return std::type_identity<first>{};
    }
  }
  using type = typename decltype(decide())::type;
};

}  // namespace detail

/// The verdict on a configuration. Cost: half a second of compile time, and about five more for one
/// that maps in blocks, once for each *abstraction*, however often it is used.
template <class Configuration>
using verdict_of = typename detail::verdict_found<Configuration>::type;

/// Whether a verdict is good. A concept of its own, because a compiler looks no deeper for a reason
/// to print.
template <class Verdict>
concept safe = std::is_same_v<Verdict, nothing_wrong>;

}  // namespace proof

/// Whether no interleaving of attach, open, close, detach, discard and guest, with every failure at
/// every step, leaves a device with a stale mapping, inhibits discards needlessly, or leaves
/// anything behind (law 29). Of containers that map in blocks, also whether the same holds while
/// units are discarded and populated beside them (law 7). `Configuration`: a `container<...>`, a
/// `proof::abstraction<...>`, or a `proof::unit_abstraction<...>`.
/// Its plans must be well formed, and its policy a constant rule that treats many groups and
/// devices as it treats few. Limits: `proof.hpp`.
template <class Configuration>
concept proven_safe = proof::safe<proof::verdict_of<Configuration>>;

}  // namespace tether
