// SPDX-License-Identifier: BSL-1.0
// An observer hears what it has ears for; what it does not have costs nothing.
#include <tether/listen/observation.hpp>

#include <type_traits>

namespace tether {
namespace {

static_assert(observation<no_observation> && std::is_empty_v<no_observation>);

struct hears_maps {
  using slot = observation_slot;
  unsigned maps = 0;
  unsigned unmaps = 0;
  constexpr void mapped(mapping const&) noexcept { ++maps; }
  constexpr void unmapped(extent<io_address>) noexcept { ++unmaps; }
};
struct hears_pins {
  using slot = observation_slot;
  bool pins = false;
  constexpr void pinning(bool everything) noexcept { pins = everything; }
};
struct needs_a_name {
  using slot = observation_slot;
  explicit needs_a_name(int) {}
};
struct in_another_slot {
  using slot = edges_slot;
};
static_assert(observation<hears_maps> && !observation<needs_a_name> &&
              !observation<in_another_slot> && !observation<int>);

constexpr bool hears_only_that() {
  hears_maps who;
  detail::notify_mapped(who, {});
  detail::notify_mapped(who, {});
  detail::notify_unmapped(who, {});
  detail::notify_trimmed(who, {}, 1);
  no_observation nobody;
  detail::notify_mapped(nobody, {});
  detail::notify_unmapped(nobody, {});
  return who.maps == 2 && who.unmaps == 1;
}
static_assert(hears_only_that());

constexpr bool hears_who_pins() {
  hears_pins who;
  detail::notify_pinning(who, true);
  no_observation nobody;
  detail::notify_pinning(nobody, true);
  return who.pins;
}
static_assert(hears_who_pins());

}  // namespace
}  // namespace tether
