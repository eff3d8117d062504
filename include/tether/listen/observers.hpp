// SPDX-License-Identifier: BSL-1.0
// Several observers in one slot: each is told everything that it has a function for, in the order
// in which they are given. Several tracers in theirs (`attach/tracing.hpp`), just so. (What `audit`
// compares is remembered by `audited_beside<observers<...>>`.)
//
//     tether::container<tether::vfio_type1, tether::observers<my_log, my_counters>> dma;
//     dma.observer().part<my_counters>()
#pragma once

#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/slots.hpp>
#include <tether/listen/observation.hpp>
#include <tether/topology/section.hpp>

#include <cstdint>
#include <type_traits>

namespace tether {

namespace detail {

template <class... Parts>
class observers_of {
 public:
  template <class Tell>
  constexpr void for_each(Tell const&) noexcept {}
};
template <class First, class... Others>
class observers_of<First, Others...> {
 public:
  /// The first of type `Part`.
  template <class Part>
  [[nodiscard]] constexpr Part& part() noexcept {
    constexpr bool last = sizeof...(Others) == 0;
    static_assert(std::is_same_v<Part, First> || !last,
                  "tether[O6]: 'part' was asked for an observer that is not among these");
    if constexpr (std::is_same_v<Part, First>) return first_;
    else if constexpr (last) __builtin_unreachable();
    else return others_.template part<Part>();
  }
  template <class Tell>
  constexpr void for_each(Tell const& tell) noexcept {
    tell(first_);
    others_.for_each(tell);
  }

 private:
  [[no_unique_address]] First first_{};
  [[no_unique_address]] observers_of<Others...> others_{};
};

/// A value, and not the concept, of which a compiler would explain each operand.
template <class Observer>
inline constexpr bool usable_observer =
    observation<Observer> && notifications_callable<Observer> && has_notifications<Observer>;
template <class... Parts>
class observers_of_maps : public observers_of<Parts...> {
 public:
  /// Not there where one could not fill the slot alone, and the container refuses that.
  constexpr void mapped(mapping const& what) noexcept
    requires(... && usable_observer<Parts>)
  {
    this->for_each([&](auto& one) noexcept { notify_mapped(one, what); });
  }
  constexpr void unmapped(extent<io_address> where) noexcept {
    this->for_each([&](auto& one) noexcept { notify_unmapped(one, where); });
  }
  constexpr void trimmed(section const& what, std::uint64_t bytes) noexcept {
    this->for_each([&](auto& one) noexcept { notify_trimmed(one, what, bytes); });
  }
  constexpr void left_out(section const& what, error const& why) noexcept {
    this->for_each([&](auto& one) noexcept { notify_left_out(one, what, why); });
  }
  constexpr void diverged(error const& why) noexcept {
    this->for_each([&](auto& one) noexcept { notify_diverged(one, why); });
  }
};
/// Whoever has `pinning` has the kernel asked who pins, so there is none unless a part wants it.
template <class... Parts>
class observers_of_pins : public observers_of_maps<Parts...> {
 public:
  constexpr void pinning(bool everything) noexcept {
    this->for_each([&](auto& one) noexcept { notify_pinning(one, everything); });
  }
};

/// The policy for `Slot` that is made of several. A slot that takes several has one.
template <class Slot, class... Parts>
struct observers_for;
template <class... Parts>
struct observers_for<observation_slot, Parts...> {
  using type = std::conditional_t<(... || has_member<Parts, pinning_name>),
                                  observers_of_pins<Parts...>, observers_of_maps<Parts...>>;
};

}  // namespace detail

/// Observers of one slot, as one policy for it. `part<Observer>()` is the first of that type.
/// Requires: each could fill the slot alone. Cost: that of each.
template <class First, class... Others>
struct observers : detail::observers_for<typename First::slot, First, Others...>::type {
  using slot = typename First::slot;  ///< that of each of them
};

}  // namespace tether
