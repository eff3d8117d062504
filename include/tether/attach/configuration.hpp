// SPDX-License-Identifier: BSL-1.0
// Combines a backend and policies into one configuration: which policy fills which slot, and every
// `static_assert` that refuses a wrong one. They are here, together, so that a mistake meets one of
// them and not a cascade of errors.
#pragma once

#include <tether/attach/detail/slot_table.hpp>
#include <tether/attach/kvm_device.hpp>
#include <tether/attach/lifecycle/plans.hpp>
#include <tether/backend/concepts.hpp>
#include <tether/core/slots.hpp>
#include <tether/granule/concepts.hpp>
#include <tether/granule/edges.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/detail/truth_table.hpp>
#include <tether/inhibit/kinds.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/inhibit/threading.hpp>
#include <tether/listen/observation.hpp>

#include <type_traits>

namespace tether {

namespace detail {

struct slot_name {
  int slot;
  template <class T>
  static constexpr bool finds = requires { &T::slot; };
};
/// True for a class that has a `slot` which is private.
template <class Policy>
inline constexpr bool hides_its_slot = !policy<Policy> && has_member<Policy, slot_name>;

/// These apply only to types that are inhibition policies at all.
template <class Inhibition>
inline constexpr bool asked_rightly = !inhibition<Inhibition> || members_callable<Inhibition>;
template <class Inhibition>
inline constexpr bool is_constant = !inhibition<Inhibition> || constant_rule<Inhibition>;
template <class Inhibition, rule_fault Fault>
inline constexpr bool is_free_of = true;
template <constant_rule Inhibition, rule_fault Fault>
inline constexpr bool is_free_of<Inhibition, Fault> = fault_of<Inhibition> != Fault;

/// Whether a pinning backend is combined with a policy that inhibits nothing.
template <class Backend, class Inhibition>
inline constexpr bool unprotected = false;
template <class Backend, class Inhibition>
  requires requires { Backend::pins; }
inline constexpr bool unprotected<Backend, Inhibition> =
    Backend::pins && never_inhibits<Inhibition>;

/// What a backend attaches: groups, if it does not declare a `unit`.
template <class Backend>
inline constexpr attach_unit attaches = attach_unit::group;
template <class Backend>
  requires requires { Backend::unit; }
inline constexpr attach_unit attaches<Backend> = Backend::unit;

/// Whether KVM can be told, if the policy wants it told.
template <class Backend, class Kvm>
inline constexpr bool tellable = !Kvm::tells || has_kvm_file<Backend>;

/// The optional parts of a backend: one that is callable at all has the signature that it must
/// have.
template <class Backend>
inline constexpr bool options_usable =
    (maps_files<Backend> || !requires(Backend& it, mapping const& what, file_source from) {
      it.map(what, from);
    }) && (reports_pinning<Backend> || !requires(Backend& it) { it.pins_now(); });

template <class Backend>
inline constexpr bool can_pin = true;
template <class Backend>
  requires requires { Backend::pins; }
inline constexpr bool can_pin<Backend> = Backend::pins;

}  // namespace detail

/// Whether `container<Backend, Policies...>` would be accepted. Usable in `if constexpr` and in a
/// cartesian product.
template <class Backend, class... Policies>
inline constexpr bool valid_configuration =
    backend<Backend> && (... && detail::fills_a_slot<Policies>) &&
    detail::each_slot_at_most_once<Policies...> && detail::all_accepted<Policies...> &&
    detail::options_usable<Backend> &&
    !detail::unprotected<Backend, detail::policy_for<inhibition_slot, Policies...>> &&
    detail::tellable<Backend, detail::policy_for<kvm_slot, Policies...>>;

/// The policies that a container runs with. Defaults: `inhibit_per_group`, `whole_section`,
/// `trim_edges`, `no_observation`, `multi_threaded`, `no_kvm`.
template <class Backend, class... Policies>
class configuration {
  using asked_inhibition = detail::asked_for<inhibition_slot, Policies...>;
  using asked_granularity = detail::asked_for<granularity_slot, Policies...>;
  using asked_edges = detail::asked_for<edges_slot, Policies...>;
  using asked_observation = detail::asked_for<observation_slot, Policies...>;
  using asked_kvm = detail::asked_for<kvm_slot, Policies...>;

  static_assert(has_backend_traits<Backend>,
                "tether[B1]: a backend needs 'static constexpr bool pins' and 'static constexpr "
                "attach_unit unit': what it pins "
                "decides what must be held down");
  static_assert(maps_memory<Backend>,
                "tether[B2]: a backend needs 'map(mapping const&) noexcept' and "
                "'unmap(extent<io_address>) noexcept', both "
                "returning result<void>: rollback runs through them");
  static_assert(has_limits<Backend>,
                "tether[B3]: a backend needs 'page_sizes()', 'usable_iova()' and "
                "'free_mappings()', const and noexcept: what "
                "cannot be mapped is refused before anything is touched");
  static constexpr bool of_groups = detail::attaches<Backend> == attach_unit::group;
  static_assert(!of_groups || takes_groups<Backend>,
                "tether[B4]: a backend needs 'group_type', 'joined_group', 'join(group) noexcept' "
                "and 'leave(joined) noexcept'");
  static_assert(!of_groups || opens_devices<Backend>,
                "tether[B5]: a backend needs 'device_type', 'classify', 'open' and 'close', all "
                "noexcept and returning a result");
  static_assert(of_groups || attaches_devices<Backend>,
                "tether[B7]: a backend of single devices needs 'endpoint_type' (with name and "
                "group), 'device_type', 'classify', 'open', "
                "'bind', 'join', 'leave' and 'close', all noexcept and returning a result");
  static_assert(quiesces<Backend> && can_be_abandoned<Backend>,
                "tether[B6]: a backend needs 'quiesce() noexcept' and 'abandon() noexcept', both "
                "returning result<void>: holds are "
                "given back only when no DMA is in flight and every pin is proven gone");
  static_assert(detail::options_usable<Backend>,
                "tether[B8]: this backend has a 'map(mapping const&, file_source)' or a "
                "'pins_now()' that would never be asked: they must "
                "be noexcept, return result<void> and bool, and 'pins_now' must be const");
  static_assert(!(... || detail::hides_its_slot<Policies>),
                "tether[P3]: this policy hides its 'slot': make it, and the functions, public (a "
                "class's members are private at first)");
  static_assert((... && (detail::fills_a_slot<Policies> || detail::hides_its_slot<Policies>)),
                "tether[P1]: this is not a policy: it names no slot of tether's ('using slot = "
                "tether::inhibition_slot', ...)");
  static_assert(detail::each_slot_at_most_once<Policies...>,
                "tether[P2]: two policies fill the same slot: give at most one for each of "
                "inhibition, granularity, edges, "
                "observation, threading, KVM");
  static_assert(tether::inhibition<asked_inhibition>,
                "tether[I2]: an inhibition policy needs 'static constexpr std::uint32_t "
                "holds(group_counts) noexcept', or the same for "
                "container_counts, or both, and public");
  static_assert(detail::asked_rightly<asked_inhibition>,
                "tether[I8]: this inhibition policy has a 'holds', 'admits' or 'never_inhibits' "
                "that would never be asked: they must be "
                "public, static, constexpr and noexcept; 'holds' takes a group_counts or a "
                "container_counts and answers an integer of at "
                "most 32 bits, 'admits' takes a group_counts and answers a bool, and who never "
                "inhibits has no 'holds'");
  static_assert(detail::is_constant<asked_inhibition>,
                "tether[I9]: an inhibition policy's 'holds' and 'admits' must be constant "
                "expressions, whatever the counts: they are asked "
                "only when the membership changes, so they may read nothing but their argument");
  static_assert(detail::is_free_of<asked_inhibition, detail::rule_fault::holds_for_nothing>,
                "tether[I10]: this inhibition policy needs a hold where nothing is attached, which "
                "nobody would ever give back: look at "
                "'attached', or at 'members', first");
  static_assert(detail::is_free_of<asked_inhibition, detail::rule_fault::more_after_a_close>,
                "tether[I11]: this inhibition policy needs more holds after a device was closed or "
                "a group detached than before, or does "
                "not admit what is left then: a hold can be refused, and closing cannot");
  static_assert(detail::is_free_of<asked_inhibition, detail::rule_fault::many_unlike_few>,
                "tether[I12]: this inhibition policy treats many groups or devices otherwise than "
                "two: whether it needs a hold may hang "
                "only on whether there are any, else nothing is proven of it");
  static_assert(detail::is_free_of<asked_inhibition, detail::rule_fault::too_many>,
                "tether[I13]: this inhibition policy needs more than 65,535 holds for at most 16 "
                "devices or groups: what many need "
                "together could not be counted");
  static_assert(!detail::unprotected<Backend, asked_inhibition>,
                "tether[I1]: this backend pins memory and no_inhibition lets a balloon discard it: "
                "choose inhibit_per_group, "
                "inhibit_per_device or inhibit_per_container");
  static_assert(tether::granularity<asked_granularity>,
                "tether[G2]: a granularity needs 'first_piece' and 'pieces' of (mapping const&, "
                "block_offset, page_sizes), static and "
                "noexcept, and 'static constexpr std::uint64_t block_size'");
  static_assert(tether::edges<asked_edges>,
                "tether[E1]: an edge policy needs 'static constexpr bool refuses(fitting::verdict, "
                "bool is_ram) noexcept'");
  static_assert(tether::observation<asked_observation>,
                "tether[O2]: an observer needs a default constructor; what it is told is optional");
  static_assert(!tether::observation<asked_observation> ||
                    notifications_callable<asked_observation>,
                "tether[O3]: this observer has a function that would never be told: they are "
                "public and noexcept, 'mapped(mapping const&)',"
                " 'unmapped(extent<io_address>)', 'trimmed(section const&, std::uint64_t)', "
                "'left_out(section const&, error const&)', "
                "'pinning(bool)' and 'diverged(error const&)'");
  static_assert(!tether::observation<asked_observation> || has_notifications<asked_observation>,
                "tether[O4]: this observer is told nothing, or has a function that is not: they "
                "are called 'mapped', 'unmapped', 'trimmed',"
                " 'left_out', 'pinning' and 'diverged'");
  static_assert(kvm_policy<asked_kvm>,
                "tether[K1]: a KVM policy needs 'static constexpr bool tells', and 'add' and "
                "'remove' of (int, std::string_view), "
                "noexcept and returning result<void>");
  static_assert(detail::tellable<Backend, asked_kvm>,
                "tether[K2]: KVM is told of VFIO groups and devices by descriptor, and this "
                "backend has none: leave kvm_device out");

 public:
  /// A backend that pins nothing needs no inhibition, whatever was asked for.
  using inhibition =
      std::conditional_t<detail::can_pin<Backend>, detail::policy_for<inhibition_slot, Policies...>,
                         no_inhibition>;
  using granularity = detail::policy_for<granularity_slot, Policies...>;
  using edges = detail::policy_for<edges_slot, Policies...>;
  using observation = detail::policy_for<observation_slot, Policies...>;
  using threading = detail::policy_for<threading_slot, Policies...>;
  using kvm =
      std::conditional_t<detail::tellable<Backend, detail::policy_for<kvm_slot, Policies...>>,
                         detail::policy_for<kvm_slot, Policies...>, no_kvm>;
  /// The plans that it runs; which they are follows from the backend and from whether KVM is told.
  using lifecycle = lifecycle_of<detail::attaches<Backend>, kvm::tells>;

  /// Law 3: only a strategy that maps in blocks can allow coordinated discards.
  static constexpr hold_kind holds =
      maps_in_blocks<granularity> ? hold_kind::uncoordinated : hold_kind::any;
};

}  // namespace tether
