// SPDX-License-Identifier: BSL-1.0
// Abseil's B-tree, by last address.
#include <lookup/lookup.hpp>

#include <absl/container/btree_map.h>

#include <cstdint>
#include <vector>

namespace {

struct btree_map {
  absl::btree_map<std::uint64_t, lookup::interval> by_last{};

  explicit btree_map(std::vector<lookup::interval> const& all) {
    for (auto const& one : all) by_last.emplace_hint(by_last.end(), one.last, one);
  }
  [[gnu::noinline]] std::uint64_t find(std::uint64_t at) const {
    const auto found = by_last.lower_bound(at);
    if (found == by_last.end() || found->second.first > at) return 0;
    return found->second.host + (at - found->second.first);
  }
};

const bench::side<lookup::subject> entered{"absl::btree_map", lookup::looks_up<btree_map>};

}  // namespace
