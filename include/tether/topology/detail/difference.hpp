// SPDX-License-Identifier: BSL-1.0
// What takes a listener from one view to another: all removals, then all additions (law 8). Chunks
// that both views have are skipped, so the cost is that of the change.
#pragma once

#include <tether/topology/flat_view.hpp>
#include <tether/topology/section.hpp>

#include <cstddef>
#include <vector>

namespace tether::detail {

/// Both ascend. A section whose memory, place or rights changed is in both; an unchanged one is in
/// neither. Their names live as long as the views that it was made from.
struct difference {
  std::vector<section> removals;
  std::vector<section> additions;

  [[nodiscard]] bool empty() const noexcept { return removals.empty() && additions.empty(); }

  /// Fails: throws `std::bad_alloc`.
  [[nodiscard]] static difference between(flat_view const& before, flat_view const& after) {
    difference change;
    flat_view::position old = {};
    flat_view::position now = {};
    const auto old_end = before.end_position();
    const auto now_end = after.end_position();
    while (old != old_end || now != now_end) {
      if (old != old_end && now != now_end && old.index == 0 && now.index == 0 &&
          before.chunks()[old.chunk] == after.chunks()[now.chunk]) {
        old = {old.chunk + 1, 0};
        now = {now.chunk + 1, 0};
        continue;
      }
      // Take the section that begins first, or both if they begin together.
      const bool take_old = old != old_end && (now == now_end || before.at(old).where.first <=
                                                                     after.at(now).where.first);
      const bool take_now = now != now_end && (old == old_end || after.at(now).where.first <=
                                                                     before.at(old).where.first);
      if (!(take_old && take_now && before.at(old) == after.at(now))) {
        if (take_old) change.removals.push_back(before.at(old));
        if (take_now) change.additions.push_back(after.at(now));
      }
      if (take_old) old = before.after(old);
      if (take_now) now = after.after(now);
    }
    return change;
  }
};

}  // namespace tether::detail
