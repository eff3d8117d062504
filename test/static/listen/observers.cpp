// SPDX-License-Identifier: BSL-1.0
// Several observers hear what each has ears for; nobody is asked who pins unless one wants to know.
#include <tether/listen/observers.hpp>

#include <type_traits>

namespace tether {
namespace {

struct hears_maps {
  using slot = observation_slot;
  unsigned maps = 0;
  constexpr void mapped(mapping const&) noexcept { ++maps; }
};
struct hears_everything {
  using slot = observation_slot;
  unsigned all = 0;
  constexpr void mapped(mapping const&) noexcept { all += 1; }
  constexpr void unmapped(extent<io_address>) noexcept { all += 10; }
  constexpr void trimmed(section const&, std::uint64_t) noexcept { all += 100; }
  constexpr void left_out(section const&, error const&) noexcept { all += 1000; }
  constexpr void pinning(bool) noexcept { all += 10000; }
  constexpr void diverged(error const&) noexcept {}
};
using quiet = observers<hears_maps, no_observation>;
using both = observers<hears_maps, hears_everything, hears_maps>;

static_assert(observation<quiet> && notifications_callable<quiet> && has_notifications<quiet>);
static_assert(observation<both> && notifications_callable<both> && has_notifications<both>);
static_assert(std::is_same_v<both::slot, observation_slot>);
static_assert(sizeof(quiet) == sizeof(hears_maps) && std::is_empty_v<observers<no_observation>>);

// It would cost system calls.
template <class Observer>
concept asks_who_pins = requires(Observer& who) { who.pinning(true); };
static_assert(asks_who_pins<both> && !asks_who_pins<quiet>);

constexpr bool each_is_told() {
  both who;
  detail::notify_mapped(who, {});
  detail::notify_unmapped(who, {});
  detail::notify_trimmed(who, {}, 1);
  detail::notify_pinning(who, true);
  who.part<hears_maps>().maps += 5;
  return who.part<hears_maps>().maps == 6 && who.part<hears_everything>().all == 10111;
}
static_assert(each_is_told());

// Of observers of observers.
constexpr bool nested_ones_are_told() {
  observers<both, hears_maps> who;
  detail::notify_mapped(who, {});
  return who.part<both>().part<hears_maps>().maps == 1 && who.part<hears_maps>().maps == 1;
}
static_assert(nested_ones_are_told());

}  // namespace
}  // namespace tether
