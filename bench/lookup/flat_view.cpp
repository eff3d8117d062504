// SPDX-License-Identifier: BSL-1.0
// The view of an address space, asked for the section at an address.
#include <lookup/lookup.hpp>

#include <racing/must.hpp>

#include <tether/topology/address_space.hpp>

#include <cstdint>
#include <vector>

namespace {

struct view {
  tether::address_space space{};
  tether::view_guard shown;

  explicit view(std::vector<lookup::interval> const& all)
      : shown{(place(space, all), space.view())} {}
  static void place(tether::address_space& into, std::vector<lookup::interval> const& all) {
    auto change = into.begin();
    for (auto const& [first, last, host] : all)
      bench::must(
          change.place(tether::region::mmio("", last - first + 1), tether::guest_address{first}));
    bench::must(change.commit());
  }
  [[gnu::noinline]] std::uint64_t find(std::uint64_t at) const {
    auto const* const found = shown->find(tether::guest_address{at});
    return found == nullptr ? 0 : at - found->where.first.value;
  }
};

const bench::side<lookup::subject> entered{"tether's flat_view", lookup::looks_up<view>};

}  // namespace
