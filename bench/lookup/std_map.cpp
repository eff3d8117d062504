// SPDX-License-Identifier: BSL-1.0
// A std::map by last address.
#include <lookup/lookup.hpp>

#include <cstdint>
#include <map>
#include <vector>

namespace {

struct std_map {
  std::map<std::uint64_t, lookup::interval> by_last{};

  explicit std_map(std::vector<lookup::interval> const& all) {
    for (auto const& one : all) by_last.emplace_hint(by_last.end(), one.last, one);
  }
  [[gnu::noinline]] std::uint64_t find(std::uint64_t at) const {
    const auto found = by_last.lower_bound(at);
    if (found == by_last.end() || found->second.first > at) return 0;
    return found->second.host + (at - found->second.first);
  }
};

const bench::side<lookup::subject> entered{"std::map", lookup::looks_up<std_map>};

}  // namespace
