// SPDX-License-Identifier: BSL-1.0
// Boost's flat_map, a sorted array, by last address.
#include <lookup/lookup.hpp>

#include <boost/container/flat_map.hpp>

#include <cstdint>
#include <vector>

namespace {

struct flat_map {
  boost::container::flat_map<std::uint64_t, lookup::interval> by_last{};

  explicit flat_map(std::vector<lookup::interval> const& all) {
    by_last.reserve(all.size());
    for (auto const& one : all) by_last.emplace_hint(by_last.end(), one.last, one);
  }
  [[gnu::noinline]] std::uint64_t find(std::uint64_t at) const {
    const auto found = by_last.lower_bound(at);
    if (found == by_last.end() || found->second.first > at) return 0;
    return found->second.host + (at - found->second.first);
  }
};

const bench::side<lookup::subject> entered{"boost flat_map", lookup::looks_up<flat_map>};

}  // namespace
