// SPDX-License-Identifier: BSL-1.0
// Packed and unpacked a world is the same; renamed it has the same key; and what does not fit is
// said.
#include <tether/proof/search/state_key.hpp>

#include <tether/proof/model/abstraction.hpp>

#include <utility>

namespace tether::proof {
namespace {

template <class Scope>
constexpr key<Scope> packed(world<Scope> const& here) {
  packer<Scope> packing{};
  return packing.pack(here);
}

template <class Scope>
constexpr world<Scope> busy() {
  world<Scope> here{};
  auto& first = here.containers[0];
  first.groups[0] = {
      .counts = {1, 1, true, true}, .held = 3, .declining = 1, .consenting = 1, .joined = true};
  first.groups[1] = {.counts = {.declined = 1, .attached = true},
                     .held = 15,
                     .declining = 1,
                     .in_kvm = true,
                     .acquired = true,
                     .mediated = true};
  first.active = 1;
  first.at = {operation::detach_last, 7, true, ending::none};
  first.agrees = consent::given;
  first.replay_will_fail = true;
  first.page = page_relation::pinned_other;
  first.held = 15;
  first.device = {true, false, true, true};
  here.absent = here.permit = here.leaked = true;
  return here;
}
template <class Scope>
constexpr bool survives = [] {
  const auto key = packed(busy<Scope>());
  auto back = packer<Scope>::unpack(key);
  if (!(packed(back) == key) || !back.absent || !back.permit || !back.leaked) return false;
  // Sorting has renamed them; undo that.
  std::size_t which = 0;
  while (which + 1 < Scope::containers && back.containers[which].at_rest()) ++which;
  std::swap(back.containers[0], back.containers[which]);
  auto& container = back.containers[0];
  for (std::size_t to = 0; to < 2; ++to) {
    for (std::size_t from = to; from < Scope::groups; ++from) {
      if (!(container.groups[from] == busy<Scope>().containers[0].groups[to])) continue;
      std::swap(container.groups[from], container.groups[to]);
      if (container.active == from) container.active = to;
      else if (container.active == to) container.active = from;
      break;
    }
  }
  return container == busy<Scope>().containers[0];
}();
static_assert(survives<scope<1, 2, 2>> && survives<scope<2, 2, 2>> && survives<scope<2, 3, 2>> &&
              survives<scope<1, 4, 3>>);
static_assert(sizeof(key<scope<1, 2, 2>>) == 8 && sizeof(key<scope<1, 4, 2>>) == 16);

// Which group or container is called which makes no difference; which of them is at work does.
constexpr auto renamed = [](bool along) {
  auto here = busy<scope<2, 2, 2>>();
  std::swap(here.containers[0].groups[0], here.containers[0].groups[1]);
  if (along) here.containers[0].active = 0;
  std::swap(here.containers[0], here.containers[1]);
  return packed(here);
};
static_assert(renamed(true) == packed(busy<scope<2, 2, 2>>()) &&
              !(renamed(false) == packed(busy<scope<2, 2, 2>>())));

// A container that has diverged is what it pins and whether it holds.
constexpr auto diverged = [](std::uint32_t held, page_relation page, std::uint8_t index) {
  world<small_scope> here{};
  auto& container = here.containers[0];
  container.diverged = true;
  container.active = 0;
  container.groups[0].held = held;
  container.page = page;
  container.at.index = index;
  return packed(here);
};
static_assert(diverged(1, page_relation::pinned_same, 1) ==
              diverged(3, page_relation::pinned_same, 2));
static_assert(diverged(0, page_relation::none, 1) == diverged(0, page_relation::recorded, 1));
static_assert(!(diverged(0, page_relation::none, 1) == diverged(1, page_relation::none, 1)));
static_assert(!(diverged(1, page_relation::pinned_same, 1) ==
                diverged(1, page_relation::pinned_other, 1)));
constexpr auto remains =
    packer<small_scope>::unpack(diverged(3, page_relation::pinned_other, 1)).containers[0];
static_assert(remains.diverged && remains.held == 1 &&
              remains.page == page_relation::pinned_other && remains.at_rest());

// Nothing is cut off silently.
constexpr auto fits = [](group_state group, std::uint32_t held) {
  world<small_scope> here{};
  here.containers[0].groups[0] = group;
  here.containers[0].held = held;
  packer<small_scope> packing{};
  static_cast<void>(packing.pack(here));
  return packing.fits;
};
static_assert(fits({.held = 15, .declining = 3}, 15));
static_assert(!fits({.held = 16}, 0) && !fits({.declining = 4}, 0) && !fits({.consenting = 4}, 0) &&
              !fits({}, 16));
static_assert(!fits({.counts = {.declined = ~0U}}, 0) && !fits({.counts = {.agreed = ~0U}}, 0));

}  // namespace
}  // namespace tether::proof
