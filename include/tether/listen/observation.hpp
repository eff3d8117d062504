// SPDX-License-Identifier: BSL-1.0
// Who is told what the listener did: the slot `observation_slot`. An observer has any of the functions below;
// what it does not have costs nothing.
#pragma once

#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/policies.hpp>
#include <tether/topology/section.hpp>

#include <concepts>
#include <cstdint>
#include <string_view>

namespace tether {

/// An observer.
/// Minimal: `using slot = tether::observation_slot`; default constructible.
/// Optional, each `noexcept`: `mapped(mapping)` for each piece; `unmapped(extent<io_address>)` for each call;
/// after `abandon` one for all there is; `trimmed(section, bytes)` and `left_out(section, error)` once for each section;
/// `diverged(error)`; `pinning(bool)` whenever something has joined or left: whether all that is mapped is pinned now.
/// Called under the container's lock: it must not call back into the container, the address space or the gate.
/// Models: `no_observation`.
template <class O>
concept observation = policy<O> && std::same_as<typename O::slot, observation_slot> && std::default_initializable<O>;

/// Nobody is told. The default; costs nothing.
struct no_observation {
  using slot = observation_slot;
};

namespace detail {

template <class Observer>
constexpr void tell_mapped(Observer& who, mapping const& what) noexcept {
  if constexpr (requires { who.mapped(what); }) who.mapped(what);
}
template <class Observer>
constexpr void tell_unmapped(Observer& who, extent<io_address> where) noexcept {
  if constexpr (requires { who.unmapped(where); }) who.unmapped(where);
}
template <class Observer>
constexpr void tell_trimmed(Observer& who, section const& what, std::uint64_t bytes) noexcept {
  if constexpr (requires { who.trimmed(what, bytes); }) who.trimmed(what, bytes);
}
template <class Observer>
constexpr void tell_left_out(Observer& who, section const& what, error const& why) noexcept {
  if constexpr (requires { who.left_out(what, why); }) who.left_out(what, why);
}
template <class Observer>
constexpr void tell_pinning(Observer& who, bool everything) noexcept {
  if constexpr (requires { who.pinning(everything); }) who.pinning(everything);
}
template <class Observer>
constexpr void tell_diverged(Observer& who, error const& why) noexcept {
  if constexpr (requires { who.diverged(why); }) who.diverged(why);
}

}  // namespace detail

}  // namespace tether
