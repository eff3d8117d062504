// SPDX-License-Identifier: BSL-1.0
// Observers of what the listener does: the slot `observation_slot`. An observer has any of the
// functions below; one that it lacks costs nothing.
#pragma once

#include <tether/core/detail/member_name.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/slots.hpp>
#include <tether/topology/section.hpp>

#include <concepts>
#include <cstdint>
#include <string_view>

namespace tether {

/// An observer.
/// Minimal: `using slot = tether::observation_slot`; default constructible.
/// Optional, each `noexcept`: `mapped(mapping)` for each piece; `unmapped(extent<io_address>)` for
/// each call to the backend, and after `abandon` once for everything; `trimmed(section, bytes)` and
/// `left_out(section, error)` once for each section; `diverged(error)`; `pinning(bool)` whenever
/// something has joined or left: whether all that is mapped is pinned now. An observer that has
/// none of them, or has one that cannot be called so, is refused (`has_notifications`,
/// `notifications_callable`).
/// Requires: none of them calls the container, the address space or the gate: the container's lock
/// is held.
/// Models: `no_observation`.
template <class O>
concept observation =
    policy<O> && std::same_as<typename O::slot, observation_slot> && std::default_initializable<O>;

/// No observer. The default; costs nothing.
struct no_observation {
  using slot = observation_slot;
};

namespace detail {

struct mapped_name {
  int mapped;
  template <class T>
  static constexpr bool finds = requires { &T::mapped; };
};
struct unmapped_name {
  int unmapped;
  template <class T>
  static constexpr bool finds = requires { &T::unmapped; };
};
struct trimmed_name {
  int trimmed;
  template <class T>
  static constexpr bool finds = requires { &T::trimmed; };
};
struct left_out_name {
  int left_out;
  template <class T>
  static constexpr bool finds = requires { &T::left_out; };
};
struct pinning_name {
  int pinning;
  template <class T>
  static constexpr bool finds = requires { &T::pinning; };
};
struct diverged_name {
  int diverged;
  template <class T>
  static constexpr bool finds = requires { &T::diverged; };
};

// Likely mistakes for those names.
struct like_mapped {
  int map, on_map, on_mapped;
  template <class T>
  static constexpr bool finds = requires { &T::map, &T::on_map, &T::on_mapped; };
};
struct like_unmapped {
  int unmap, on_unmap, on_unmapped;
  template <class T>
  static constexpr bool finds = requires { &T::unmap, &T::on_unmap, &T::on_unmapped; };
};
struct like_trimmed {
  int trim, on_trim, on_trimmed;
  template <class T>
  static constexpr bool finds = requires { &T::trim, &T::on_trim, &T::on_trimmed; };
};
struct like_left_out {
  int leave_out, on_leave_out, on_left_out;
  template <class T>
  static constexpr bool finds = requires { &T::leave_out, &T::on_leave_out, &T::on_left_out; };
};
struct like_pinning {
  int pin, pinned, on_pin, on_pinning;
  template <class T>
  static constexpr bool finds = requires { &T::pin, &T::pinned, &T::on_pin, &T::on_pinning; };
};
struct like_diverged {
  int diverge, on_diverge, on_diverged;
  template <class T>
  static constexpr bool finds = requires { &T::diverge, &T::on_diverge, &T::on_diverged; };
};

/// The right name is there, or no likely mistake for it is.
template <class Observer, class Name, class Like>
inline constexpr bool named_rightly = has_member<Observer, Name> || !has_member<Observer, Like>;

}  // namespace detail

/// Whether every function of an observer that is named like a notification can be called as one.
template <class O>
concept notifications_callable =
    (!detail::has_member<O, detail::mapped_name> ||
     requires(O& who, mapping const& what) {
       { who.mapped(what) } noexcept;
     }) &&
    (!detail::has_member<O, detail::unmapped_name> ||
     requires(O& who, extent<io_address> const where) {
       { who.unmapped(where) } noexcept;
     }) &&
    (!detail::has_member<O, detail::trimmed_name> ||
     requires(O& who, section const& what, std::uint64_t const bytes) {
       { who.trimmed(what, bytes) } noexcept;
     }) &&
    (!detail::has_member<O, detail::left_out_name> ||
     requires(O& who, section const& what, error const& why) {
       { who.left_out(what, why) } noexcept;
     }) &&
    (!detail::has_member<O, detail::pinning_name> || requires(O& who, bool const everything) {
      { who.pinning(everything) } noexcept;
    }) && (!detail::has_member<O, detail::diverged_name> || requires(O& who, error const& why) {
      { who.diverged(why) } noexcept;
    });

/// Whether an observer receives any notification, and has no function that looks like one but is
/// never called.
template <class O>
concept has_notifications =
    std::derived_from<O, no_observation> ||
    ((detail::has_member<O, detail::mapped_name> || detail::has_member<O, detail::unmapped_name> ||
      detail::has_member<O, detail::trimmed_name> || detail::has_member<O, detail::left_out_name> ||
      detail::has_member<O, detail::pinning_name> ||
      detail::has_member<O, detail::diverged_name>) &&
     detail::named_rightly<O, detail::mapped_name, detail::like_mapped> &&
     detail::named_rightly<O, detail::unmapped_name, detail::like_unmapped> &&
     detail::named_rightly<O, detail::trimmed_name, detail::like_trimmed> &&
     detail::named_rightly<O, detail::left_out_name, detail::like_left_out> &&
     detail::named_rightly<O, detail::pinning_name, detail::like_pinning> &&
     detail::named_rightly<O, detail::diverged_name, detail::like_diverged>);

namespace detail {

template <class Observer>
constexpr void notify_mapped(Observer& who, mapping const& what) noexcept {
  if constexpr (requires { who.mapped(what); }) who.mapped(what);
}
template <class Observer>
constexpr void notify_unmapped(Observer& who, extent<io_address> where) noexcept {
  if constexpr (requires { who.unmapped(where); }) who.unmapped(where);
}
template <class Observer>
constexpr void notify_trimmed(Observer& who, section const& what, std::uint64_t bytes) noexcept {
  if constexpr (requires { who.trimmed(what, bytes); }) who.trimmed(what, bytes);
}
template <class Observer>
constexpr void notify_left_out(Observer& who, section const& what, error const& why) noexcept {
  if constexpr (requires { who.left_out(what, why); }) who.left_out(what, why);
}
template <class Observer>
constexpr void notify_pinning(Observer& who, bool everything) noexcept {
  if constexpr (requires { who.pinning(everything); }) who.pinning(everything);
}
template <class Observer>
constexpr void notify_diverged(Observer& who, error const& why) noexcept {
  if constexpr (requires { who.diverged(why); }) who.diverged(why);
}

}  // namespace detail

}  // namespace tether
