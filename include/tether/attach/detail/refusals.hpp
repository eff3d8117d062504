// SPDX-License-Identifier: BSL-1.0
// Why a configuration is refused: a class for each sentence, named after what is wrong, with the
// type that is wrong as its argument. It holds nothing but the `static_assert`, and is instantiated
// only where that fails (`judgement.hpp`): clang treats a class in which one failed as broken, and
// would say so of all that uses it. A compiler explains a concept that is not satisfied, which is
// wanted, but for one that is an alternative of others (`bool{...}`): that fills a screen.
#pragma once

#include <tether/attach/detail/slot_table.hpp>
#include <tether/attach/kvm_device.hpp>
#include <tether/attach/tracing.hpp>
#include <tether/backend/concepts.hpp>
#include <tether/backend/endpoint.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/detail/member_name.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/slots.hpp>
#include <tether/granule/concepts.hpp>
#include <tether/granule/edges.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/detail/truth_table.hpp>
#include <tether/listen/observation.hpp>

#include <concepts>
#include <type_traits>

namespace tether::detail {

struct slot_name {
  int slot;
  template <class T>
  static constexpr bool finds = requires { &T::slot; };
};
/// True for a class that has a `slot` which is private.
template <class Policy>
inline constexpr bool hides_its_slot = !policy<Policy> && has_member<Policy, slot_name>;

/// What a backend attaches: groups, if it does not declare a `unit`.
template <class Backend>
inline constexpr attach_unit attaches = attach_unit::group;
template <has_backend_traits Backend>
inline constexpr attach_unit attaches<Backend> = Backend::unit;

template <class Backend>
inline constexpr bool can_pin = true;
template <has_backend_traits Backend>
inline constexpr bool can_pin<Backend> = Backend::pins;

/// Whether a pinning backend is combined with a policy that inhibits nothing.
template <class Backend, class Inhibition>
inline constexpr bool unprotected = can_pin<Backend> && never_inhibits<Inhibition>;

/// Whether KVM can be told, if the policy wants it told.
template <class Backend, class Kvm>
inline constexpr bool tellable = !Kvm::tells || has_kvm_file<Backend>;

/// The optional parts of a backend: one that is callable at all has the signature that it must
/// have.
template <class Backend>
inline constexpr bool options_usable =
    (maps_files<Backend> ||
     !requires(Backend& it, mapping const& what, file_source from) { it.map(what, from); }) &&
    (reports_pinning<Backend> || !requires(Backend& it) { it.pins_now(); }) &&
    (locates_endpoints<Backend> ||
     !requires(Backend& it, endpoint const& device) { it.locate(device); });

template <class Backend>
struct no_backend_but_a_policy {
  static_assert(!policy<Backend>,
                "tether[B1]: a policy stands where the backend belongs: the backend comes first, "
                "'container<Backend, Policies...>'");
};
template <class Backend>
struct backend_without_traits {
  static_assert(has_backend_traits<Backend>,
                "tether[B1]: a backend needs 'static constexpr bool pins' and 'static constexpr "
                "attach_unit unit': what it pins decides what must be held down");
};
template <class Backend>
struct backend_that_maps_nothing {
  static_assert(maps_memory<Backend>,
                "tether[B2]: a backend needs 'map(mapping const&) noexcept' and "
                "'unmap(extent<io_address>) noexcept', both returning result<void>: rollback runs "
                "through them");
};
template <class Backend>
struct backend_without_limits {
  static_assert(has_limits<Backend>,
                "tether[B3]: a backend needs 'page_sizes()', 'usable_iova()' and "
                "'free_mappings()' (a std::uint64_t), const and noexcept: what cannot be mapped is "
                "refused before anything is touched");
};
template <class Backend>
struct backend_without_groups {
  static_assert(takes_groups<Backend>,
                "tether[B4]: a backend needs 'group_type' (with 'name() const noexcept'), "
                "'joined_group', 'join(group) noexcept' and 'leave(joined) noexcept'");
};
template <class Backend>
struct backend_without_devices {
  static_assert(opens_devices<Backend>,
                "tether[B5]: a backend needs 'device_type', 'classify', 'open' (of a joined_group& "
                "and a std::string_view) and 'close', all noexcept and returning a result");
};
template <class Backend>
struct backend_without_single_devices {
  static_assert(attaches_devices<Backend>,
                "tether[B7]: a backend of single devices needs 'endpoint_type' (with name and "
                "group), 'device_type', 'classify', 'open', 'bind', 'join', 'leave' and 'close', "
                "all noexcept and returning a result");
};
template <class Backend>
struct backend_that_never_ends {
  static_assert(quiesces<Backend> && can_be_abandoned<Backend>,
                "tether[B6]: a backend needs 'quiesce() noexcept' and 'abandon() noexcept', both "
                "returning result<void>: holds are given back only when no DMA is in flight and "
                "every pin is proven gone");
};
template <class Backend>
struct backend_with_unusable_options {
  static_assert(options_usable<Backend>,
                "tether[B8]: this backend has a 'map(mapping const&, file_source)', a 'pins_now()' "
                "or a 'locate(endpoint const&)' that would never be asked: they must be noexcept, "
                "return result<void>, bool and a result of what is attached "
                "('device_in_group<group_type>' or 'endpoint_type'), and the last two must be "
                "const");
};
/// A value, and not the concept, as below.
template <class Backend>
inline constexpr bool finds_devices = locates_endpoints<Backend>;
/// Of a backend that is complete: a call is refused, for the type that it names a device by.
template <class Backend, class>
struct backend_that_finds_no_device {
  static_assert(finds_devices<Backend>,
                "tether[B10]: this backend finds no device by its name: attach its group_type, or "
                "endpoint_type, or give it 'locate(endpoint const&) const noexcept', which returns "
                "a result of 'device_in_group<group_type>', or of 'endpoint_type'");
};
/// `Given` is what stands in the call, `Source` what this backend attaches.
template <class Source, class Given>
struct nothing_that_can_be_attached {
  static_assert(std::is_convertible_v<Given const&, Source const&>,
                "tether[B13]: this is nothing that the container's backend attaches: attach a "
                "tether::endpoint{name}, or the backend's own group_type or endpoint_type (the "
                "value of a result, not the result)");
};
template <class Backend, class Source, class Given>
using refusal_to_attach = std::conditional_t<std::is_same_v<Given, endpoint>,
                                             backend_that_finds_no_device<Backend, Given>,
                                             nothing_that_can_be_attached<Source, Given>>;
template <class Backend>
struct backend_that_is_not_open {
  static_assert(std::is_default_constructible_v<Backend>,
                "tether[B12]: this backend cannot be made without arguments: open it first, and "
                "give the container the value of its 'open(...)', or of 'open_backend<Backend>()', "
                "after the gate");
};
template <class Kvm>
struct kvm_policy_that_is_not_open {
  static_assert(std::is_default_constructible_v<Kvm>,
                "tether[K3]: this KVM policy cannot be made without arguments: give the container "
                "one, as the value of 'kvm_device::create(vm)', after the backend");
};
/// What a container makes by itself. Refused for what cannot be made so.
template <class Part, template <class> class Refusal>
Part by_default() {
  if constexpr (std::default_initializable<Part>) return Part{};
  static_assert(std::default_initializable<Part> || sizeof(Refusal<Part>) != 0);
}
template <class Policy>
struct policy_with_hidden_slot {
  static_assert(!hides_its_slot<Policy>,
                "tether[P3]: this policy hides its 'slot': make it, and the functions, public (a "
                "class's members are private at first)");
};
template <class Policy>
struct policy_without_slot {
  static_assert(fills_a_slot<Policy>,
                "tether[P1]: this is not a policy: it names no slot of tether's ('using slot = "
                "tether::inhibition_slot', ...); a policy is a complete class, and no reference");
};
template <class... Policies>
struct policies_for_one_slot {
  static_assert(each_slot_at_most_once<Policies...>,
                "tether[P2]: two policies fill the same slot: give at most one for each of "
                "inhibition, granularity, edges, observation, tracing, threading, KVM");
};
template <class Inhibition>
struct inhibition_that_never_says {
  static_assert(bool{inhibition<Inhibition>},
                "tether[I2]: an inhibition policy needs 'static constexpr std::uint32_t "
                "holds(group_counts) noexcept', or the same for container_counts, or both, and "
                "public");
};
template <class Inhibition>
struct inhibition_never_asked {
  static_assert(bool{members_callable<Inhibition>},
                "tether[I8]: this inhibition policy has a 'holds', 'admits' or 'never_inhibits' "
                "that would never be asked: they must be public, static, constexpr and noexcept; "
                "'holds' takes a group_counts or a container_counts and answers an integer of at "
                "most 32 bits, 'admits' takes a group_counts and answers a bool, and who never "
                "inhibits has no 'holds'");
};
template <class Inhibition>
struct inhibition_not_constant {
  static_assert(bool{constant_rule<Inhibition>},
                "tether[I9]: an inhibition policy's 'holds' and 'admits' must be constant "
                "expressions, whatever the counts: they are asked only when the membership "
                "changes, so they may read nothing but their argument");
};
template <class Inhibition, rule_fault Fault>
struct inhibition_of_unsound_rule {
  static_assert(Fault != rule_fault::holds_for_nothing,
                "tether[I10]: this inhibition policy needs a hold where nothing is attached, which "
                "nobody would ever give back: look at 'attached', or at 'members', first");
  static_assert(Fault != rule_fault::more_after_a_close,
                "tether[I11]: this inhibition policy needs more holds after a device was closed or "
                "a group detached than before, or does not admit what is left then: a hold can be "
                "refused, and closing cannot");
  static_assert(Fault != rule_fault::many_unlike_few,
                "tether[I12]: this inhibition policy treats many groups or devices otherwise than "
                "two: whether it needs a hold may hang only on whether there are any, else nothing "
                "is proven of it");
  static_assert(Fault != rule_fault::too_many,
                "tether[I13]: this inhibition policy needs more than 65,535 holds for at most 16 "
                "devices or groups: what many need together could not be counted");
};
template <class Backend, class Inhibition>
struct backend_that_nobody_protects {
  static_assert(!unprotected<Backend, Inhibition>,
                "tether[I1]: this backend pins memory and no_inhibition lets a balloon discard it: "
                "choose inhibit_per_group, inhibit_per_device or inhibit_per_container");
};
template <class Granularity>
struct granularity_of_unsound_blocks {
  static_assert(
      has_sound_blocks<Granularity>,
      "tether[G1]: a granularity's 'block_size', as the Size of fixed_block<Size>, must "
      "be a power of two and at least 4 KiB (4096 bytes), or 0 for no blocks of one size");
};
template <class Granularity>
struct granularity_that_cannot_cut {
  static_assert(cuts_sections<Granularity>,
                "tether[G2]: a policy for the granularity slot needs 'first_piece' and 'pieces' of "
                "(mapping const&, block_offset, page_sizes), static and noexcept, which answer how "
                "many bytes and how many, as std::uint64_t, and 'static constexpr std::uint64_t "
                "block_size' (granule/concepts.hpp); is 'slot' the one that was meant?");
};
template <class Edges>
struct edges_that_never_say {
  static_assert(edges<Edges>,
                "tether[E1]: an edge policy needs 'static constexpr bool refuses(fitting::verdict, "
                "bool is_ram) noexcept'");
};
template <class Observer>
struct observer_without_default {
  static_assert(observation<Observer>,
                "tether[O2]: an observer needs a default constructor; what it is told is optional");
};
template <class Observer>
struct observer_never_told {
  static_assert(notifications_callable<Observer>,
                "tether[O3]: this observer has a function that would never be told: they are "
                "public and noexcept, 'mapped(mapping const&)', 'unmapped(extent<io_address>)', "
                "'trimmed(section const&, std::uint64_t)', 'left_out(section const&, error "
                "const&)', 'pinning(bool)' and 'diverged(error const&)'; so are those of each of "
                "'observers<A, B>'");
};
/// A value, and not the concept, of which a compiler would explain each operand.
template <class Observer>
inline constexpr bool is_told_something = has_notifications<Observer>;
template <class Observer>
struct observer_by_another_name {
  static_assert(is_told_something<Observer>,
                "tether[O4]: this observer is told nothing, or has a function that is not: they "
                "are called 'mapped', 'unmapped', 'trimmed', 'left_out', 'pinning' and 'diverged'");
};
template <class Tracer>
struct tracer_never_told {
  static_assert(tracing<Tracer>,
                "tether[O7]: a tracer needs a default constructor and 'traced(trace_event const&) "
                "noexcept', public, and so does each of 'observers<A, B>'; is 'slot' the one that "
                "was meant?");
};
template <class Kvm>
struct kvm_that_cannot_be_told {
  static_assert(bool{kvm_policy<Kvm>},
                "tether[K1]: a KVM policy needs 'static constexpr bool tells', and 'add' and "
                "'remove' of (int, std::string_view), noexcept and returning result<void>");
};
template <class Backend, class Kvm>
struct backend_without_descriptors {
  static_assert(tellable<Backend, Kvm>,
                "tether[K2]: KVM is told of VFIO groups and devices by descriptor, and this "
                "backend has none: leave kvm_device out");
};

}  // namespace tether::detail
