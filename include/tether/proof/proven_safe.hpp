// SPDX-License-Identifier: BSL-1.0
// All that a user writes: `static_assert(tether::proven_safe<my_container>)`. Where it fails, the compiler prints the shortest
// way to the failure:
//
//     counterexample<{"stale mapping after: attach IOMMU-backed group 0: join container; ...; balloon discards; guest touches"}>
#pragma once

#include <tether/attach/lifecycle_well_formed.hpp>
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

namespace detail {

template <class Essence>
struct judged {
  static constexpr auto const& search = explored<Essence, small_scope, every_property>;
  static constexpr coverage missing = search.now.reached.lacks(demanded<Essence>());
  static constexpr sentence said =
      search.now.broken != 0 ? story_of(search.now.broken, counterexample_of<Essence, small_scope, every_property>) : story_of(missing);

  static constexpr auto decide() noexcept {
    if constexpr (search.now.broken != 0) return std::type_identity<counterexample<fixed_string<said.length>{said}>>{};
    else if constexpr (!missing.empty()) return std::type_identity<never_reached<fixed_string<said.length>{said}>>{};
    else return std::type_identity<nothing_wrong>{};
  }
  using type = typename decltype(decide())::type;
};

}  // namespace detail

/// What is found about a configuration. Cost: half a second of compile time for each *essence*, whoever asks for it and how often.
template <class Configuration>
using verdict_of = typename detail::judged<essence_of<Configuration>>::type;

/// What a search in a small world takes for granted: plans that ask nothing of a device that they have not got, and a policy that
/// treats many groups and devices as it treats two (`attach/lifecycle_well_formed.hpp`, `inhibit/truth_table.hpp`).
template <class Essence>
concept sound_beyond_the_world = well_formed_lifecycle<typename Essence::lifecycle> && sound_rule<typename Essence::inhibition_type>;

/// Whether a verdict is a good one. A concept of its own: that is as deep as a compiler looks for a reason to print.
template <class Verdict>
concept safe = std::is_same_v<Verdict, nothing_wrong>;

}  // namespace proof

/// Whether a page is never discarded under a device in any interleaving of attach, open, close, detach, discard and guest, with
/// every failure at every step; nor held down for nothing, nor anything left behind (law 29).
/// It does not see: commits while something is attached (hot-plug of memory; the listener's law suites do), `abandon` of a container
/// that diverged, what a mediated driver pins for the length of a request, more than one discarding gate, other processes, and
/// whether a device's node is the device of that name.
/// `Configuration`: a `container<...>`, or a `proof::essence<...>`.
template <class Configuration>
concept proven_safe =
    proof::safe<proof::verdict_of<Configuration>> && proof::sound_beyond_the_world<proof::essence_of<Configuration>>;

}  // namespace tether
