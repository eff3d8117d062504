// SPDX-License-Identifier: BSL-1.0
// One merge over arrays of plain records: what one writes by hand for this question alone.
#include <difference/difference.hpp>

#include <cstddef>
#include <vector>

namespace {

using difference::record;

struct change {
  std::vector<record> removals{};
  std::vector<record> additions{};
};

[[gnu::noinline]] std::size_t between(std::vector<record> const& before,
                                      std::vector<record> const& after) {
  change found;
  std::size_t old = 0;
  std::size_t now = 0;
  while (old != before.size() && now != after.size()) {
    if (before[old] == after[now]) {
      ++old;
      ++now;
    } else if (before[old].first < after[now].first) {
      found.removals.push_back(before[old++]);
    } else if (after[now].first < before[old].first) {
      found.additions.push_back(after[now++]);
    } else {
      found.removals.push_back(before[old++]);
      found.additions.push_back(after[now++]);
    }
  }
  for (; old != before.size(); ++old) found.removals.push_back(before[old]);
  for (; now != after.size(); ++now) found.additions.push_back(after[now]);
  return found.removals.size() + found.additions.size();
}

const bench::side<difference::subject> entered{
    "one pass by hand", [](difference::subject& of) {
      return difference::finds(of.before.size(), [&of] { return between(of.before, of.after); });
    }};

}  // namespace
