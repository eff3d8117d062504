// SPDX-License-Identifier: BSL-1.0
// Flattens regions to sections: one sweep over the addresses, with the regions that cover the
// current one in a heap. The highest priority is visible, among equals the latest; runs of the
// same memory are one section.
//
//     priority 1         [--mmio--]
//     priority 0    [--------ram---------]
//     sections      [ram][--mmio--][ram--]
#pragma once

#include <tether/topology/detail/region_table.hpp>
#include <tether/topology/detail/section_run.hpp>
#include <tether/topology/section.hpp>

#include <tether/core/extent.hpp>

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace tether::detail {

/// The section that `region` shows at `where`. Requires: `region.where.contains(where)`.
[[nodiscard]] inline section shown_by(placed_region const& region,
                                      extent<guest_address> where) noexcept {
  return {where,
          region.owner->memory(),
          region.offset + (where.first - region.where.first),
          region.kind,
          region.read_only,
          region.unmergeable,
          region.owner->name().view()};
}

/// Whether `next` continues `before`, in the same memory with the same attributes.
[[nodiscard]] inline bool merges(section const& before, section const& next) noexcept {
  return before.memory != nullptr && before.memory == next.memory &&
         before.where.meets(next.where) && next.offset - before.offset == before.where.size() &&
         before.kind == next.kind && before.read_only == next.read_only && !before.unmergeable &&
         !next.unmergeable;
}

/// What a sweep needs, kept from one to the next so that it allocates seldom.
struct sweep_scratch {
  std::vector<placed_region const*> waiting{};   ///< sorted by first byte
  std::vector<placed_region const*> covering{};  ///< a heap, the visible one first
};

/// Appends to `into` the sections visible `within`. Cost: n log n for the n regions that overlap
/// it. Fails: throws `std::bad_alloc`.
inline void flatten(region_table const& regions, extent<guest_address> within, section_run& into,
                    sweep_scratch& scratch) {
  auto& waiting = scratch.waiting;  // no structured binding: clang before 16 captures none
  auto& covering = scratch.covering;
  waiting.clear();
  covering.clear();
  regions.for_each_in(within, [&](placed_region const& region) { waiting.push_back(&region); });
  std::sort(waiting.begin(), waiting.end(),
            [](auto* a, auto* b) { return a->where.first < b->where.first; });

  const auto hidden_by = [](placed_region const* a, placed_region const* b) {
    return b->hides(*a);
  };
  placed_region const* last_visible = nullptr;
  const std::size_t begin = into.size();
  std::size_t next = 0;
  for (guest_address at = within.first;;) {
    for (; next < waiting.size() && waiting[next]->where.first <= at; ++next) {
      covering.push_back(waiting[next]);
      std::push_heap(covering.begin(), covering.end(), hidden_by);
    }
    while (!covering.empty() && covering.front()->where.last < at) {
      std::pop_heap(covering.begin(), covering.end(), hidden_by);
      covering.pop_back();
    }
    if (covering.empty()) {
      if (next == waiting.size()) return;
      at = waiting[next]->where.first;
      continue;
    }
    placed_region const& visible = *covering.front();
    extent<guest_address> where{at, std::min(visible.where.last, within.last)};
    if (next < waiting.size() && waiting[next]->where.first <= where.last)
      where.last = waiting[next]->where.first - 1;
    const section shown = shown_by(visible, where);
    section* const before = into.size() > begin ? &into.sections.back() : nullptr;
    if (before != nullptr && before->where.meets(where) &&
        (last_visible == &visible || merges(*before, shown)))
      before->where.last = where.last;
    else into.append(shown, visible.owner);
    last_visible = &visible;
    if (where.last == within.last) return;
    at = where.last + 1;
  }
}

inline void flatten(region_table const& regions, extent<guest_address> within, section_run& into) {
  sweep_scratch scratch;
  flatten(regions, within, into, scratch);
}

}  // namespace tether::detail
