// SPDX-License-Identifier: BSL-1.0
// The abstraction of a configuration that the model checker works on: only what safety depends on,
// so that configurations that differ in anything else share one proof. And the scope: how large the
// model is.
#pragma once

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/attach/lifecycle/steps.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/kinds.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/proof/model/plan_table.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace tether::proof {

/// The code that is proven: the very functions that a container runs (law 28). A test hook: only
/// tests replace it, with mutants that the search must find.
struct machinery {
  /// A hold is granted only when no discard runs (law 19).
  static constexpr bool gate_drains = true;
  /// `abandon` releases holds only when nothing is pinned any more, including unknown pins of stuck
  /// acts (law 6).
  static constexpr bool abandon_unpins = true;

  /// The act at a cursor.
  template <class Lifecycle>
  [[nodiscard]] static constexpr act act_at(cursor at) noexcept {
    return tether::act_at<Lifecycle>(at);
  }
  /// The cursor after an act that ended so.
  template <class Lifecycle>
  [[nodiscard]] static constexpr cursor advance(cursor at, outcome how) noexcept {
    return tether::advance<Lifecycle>(at, how);
  }
  /// Applies a change to the counts.
  static constexpr void apply_change(container_counts& container, group_counts& group, change what,
                                     consent agrees) noexcept {
    tether::apply_change(container, group, what, agrees);
  }
};

/// What the model checker sees of a configuration: what safety depends on. Backend, granularity,
/// edges, threading and observation are not in it beyond these five, so two configurations that are
/// equal in them share a proof. It is itself a configuration, as far as `proven_safe` is concerned.
template <inhibition Inhibition, class Lifecycle, bool Pins = true,
          hold_kind Holds = hold_kind::any, class Machinery = machinery>
struct abstraction {
  using inhibition_type = Inhibition;                          ///< the policy
  using lifecycle = Lifecycle;                                 ///< whose plans run
  using code = Machinery;                                      ///< the code that is proven
  using plan_table = proof::plan_table<Machinery, Lifecycle>;  ///< its plans, tabulated
  static constexpr bool pins = Pins;                           ///< whether the backend pins
  static constexpr hold_kind holds = Holds;                    ///< the kind of hold that it takes
  static constexpr attach_unit unit = unit_of<Lifecycle>;      ///< what is attached
};

/// Whether granting a permit and discarding are one event or two. A gate that drains raises no hold
/// while a permit is out, so it is as open at the discard as it was at the permit: one event loses
/// nothing (partial-order reduction). The search at run time shows that both agree; for a gate that
/// does not drain they are always two.
enum class permits : std::uint8_t { momentary, lasting };

/// The size of the model. One container with two groups shows every ordering mistake that one
/// container can make; containers interact only through the sum of their holds and the guest's
/// page, so more of them are for the search at run time.
template <std::size_t Containers, std::size_t Groups, std::size_t Devices,
          permits Permits = permits::lasting>
struct scope {
  static_assert(Containers >= 1 && Groups >= 1 && Devices >= 1);
  static constexpr std::size_t containers = Containers;  ///< in the model
  static constexpr std::size_t groups = Groups;          ///< in each container
  static constexpr std::size_t devices = Devices;        ///< in each group
  static constexpr permits permit = Permits;             ///< one event or two
};
/// What is proven at compile time.
using small_scope = scope<1, 2, 2, permits::momentary>;

/// Whether a lifecycle tells KVM of what it attaches; false if it does not say.
template <class Lifecycle>
inline constexpr bool tells_of = false;
template <class Lifecycle>
  requires requires { Lifecycle::tells_kvm; }
inline constexpr bool tells_of<Lifecycle> = Lifecycle::tells_kvm;

namespace detail {

template <class T>
inline constexpr bool is_abstraction = false;
template <class Inhibition, class Lifecycle, bool Pins, hold_kind Holds, class Machinery>
inline constexpr bool is_abstraction<abstraction<Inhibition, Lifecycle, Pins, Holds, Machinery>> =
    true;

/// Whether one hold of this kind inhibits a balloon.
constexpr bool forbids_a_balloon(hold_kind kind) noexcept {
  gate_counts counts{};
  counts.of(kind) = 1;
  return !counts.allow(discard_kind::uncoordinated);
}

/// The only discards in the model are a balloon's, which are uncoordinated: all kinds of hold that
/// forbid those are equivalent.
template <class Configuration>
struct abstraction_found {
  using policies = typename Configuration::policies;
  static constexpr hold_kind holds =
      forbids_a_balloon(policies::holds) ? hold_kind::any : policies::holds;
  using type = abstraction<typename policies::inhibition, typename policies::lifecycle,
                           policies::pins, holds>;
};
template <class Configuration>
  requires is_abstraction<Configuration>
struct abstraction_found<Configuration> {
  using type = Configuration;
};

}  // namespace detail

/// The abstraction of a `container<...>`, or an abstraction itself.
template <class Configuration>
using abstraction_of = typename detail::abstraction_found<Configuration>::type;

}  // namespace tether::proof
