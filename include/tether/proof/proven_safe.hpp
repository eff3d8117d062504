// SPDX-License-Identifier: BSL-1.0
// All that a user writes: `static_assert(tether::proven_safe<my_container>)`. Where it fails, the compiler prints the shortest
// way to the failure:
//
//     counterexample<{"stale mapping after: attach IOMMU-backed group 0: join container; ...; balloon discards; guest touches"}>
#pragma once

#include <tether/attach/lifecycle_well_formed.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/truth_table.hpp>
#include <tether/proof/coverage.hpp>
#include <tether/proof/essence.hpp>
#include <tether/proof/property.hpp>
#include <tether/proof/slices.hpp>
#include <tether/proof/story.hpp>

#include <type_traits>

namespace tether {
namespace proof {

/// The verdicts, as types, because a type is what a compiler prints.
struct nothing_wrong {};
/// A property is broken, and this is how.
template <fixed_string Story>
struct counterexample {};
/// Nothing was broken, but something that matters never happened: such a proof proves nothing.
template <fixed_string Missing>
struct never_reached {};

/// What the search would miss: how the policy is asked, what it answers for more groups and devices than there are in a small world.
template <fixed_string Why>
struct refused_policy {};
/// The plans are not what their names say, or an act stands in one that lacks what it needs.
template <fixed_string Why>
struct refused_plans {};

namespace detail {

/// The sentences are those of `attach/configuration.hpp`, where a container is refused for the same.
template <class Policy>
constexpr auto judge_policy() noexcept {
  if constexpr (!can_be_asked<Policy>) {
    return std::type_identity<
        refused_policy<"I8: a member would never be asked: public, static, constexpr, noexcept, of the right types">>{};
  } else if constexpr (!constant_rule<Policy>) {
    return std::type_identity<refused_policy<"I9: an answer is no constant expression">>{};
  } else if constexpr (fault_of<Policy> == rule_fault::holds_for_nothing) {
    return std::type_identity<refused_policy<"I10: it needs a hold where nothing is attached">>{};
  } else if constexpr (fault_of<Policy> == rule_fault::more_after_a_close) {
    return std::type_identity<refused_policy<"I11: it needs more holds after a close or detach, or does not admit what is left">>{};
  } else if constexpr (fault_of<Policy> == rule_fault::many_unlike_few) {
    return std::type_identity<refused_policy<"I12: it treats many groups or devices otherwise than two">>{};
  } else if constexpr (fault_of<Policy> == rule_fault::too_many) {
    return std::type_identity<refused_policy<"I13: it needs more than 65,535 holds for at most 16 devices or groups">>{};
  } else {
    return std::type_identity<nothing_wrong>{};
  }
}

template <class Essence>
struct searched {
  static constexpr auto const& search = explored<Essence, small_scope, every_property>;
  static constexpr coverage missing = search.now.reached.lacks(demanded<Essence>());
  static constexpr sentence said =
      search.now.broken != 0 ? story_of(search.now.broken, counterexample_of<Essence, small_scope, every_property>) : story_of(missing);

  static constexpr auto decide() noexcept {
    if constexpr (search.now.broken != 0) return std::type_identity<counterexample<fixed_string<said.length>{said}>>{};
    else if constexpr (!missing.empty()) return std::type_identity<never_reached<fixed_string<said.length>{said}>>{};
    else return std::type_identity<nothing_wrong>{};
  }
};

/// A policy that cannot be asked inside the compiler is not searched; else what the search has found is told first: it shows how.
template <class Essence>
struct judged {
  using policy = typename Essence::inhibition_type;

  static constexpr auto decide() noexcept {
    if constexpr (!can_be_asked<policy> || !constant_rule<policy>) {
      return judge_policy<policy>();
    } else {
      constexpr auto found = searched<Essence>::decide();
      if constexpr (!std::is_same_v<typename decltype(found)::type, nothing_wrong>) return found;
      else if constexpr (fault_of<policy> != rule_fault::none) return judge_policy<policy>();
      else if constexpr (!well_formed_lifecycle<typename Essence::lifecycle>)
        return std::type_identity<refused_plans<"L1: not well formed">>{};
      else return found;
    }
  }
  using type = typename decltype(decide())::type;
};

}  // namespace detail

/// What is found about a configuration. Cost: half a second of compile time for each *essence*, whoever asks for it and how often.
template <class Configuration>
using verdict_of = typename detail::judged<essence_of<Configuration>>::type;

/// Whether a verdict is a good one. A concept of its own: that is as deep as a compiler looks for a reason to print.
template <class Verdict>
concept safe = std::is_same_v<Verdict, nothing_wrong>;

}  // namespace proof

/// Whether a page is never discarded under a device in any interleaving of attach, open, close, detach, discard and guest, with
/// every failure at every step; nor held down for nothing, nor anything left behind (law 29).
/// `Configuration`: a `container<...>`, or a `proof::essence<...>`. Its plans must be well formed, and its policy a constant rule that
/// treats many groups and devices as it treats few. What it does not see: `proof.hpp`.
template <class Configuration>
concept proven_safe = proof::safe<proof::verdict_of<Configuration>>;

}  // namespace tether
