// SPDX-License-Identifier: BSL-1.0
// Makes the next view from the last one by copy-on-write: only what lies around the changed
// addresses is flattened and copied, every other chunk is shared.
#pragma once

#include <tether/topology/detail/flatten.hpp>
#include <tether/topology/detail/region_table.hpp>
#include <tether/topology/flat_view.hpp>

#include <tether/core/extent.hpp>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

namespace tether::detail {

/// Copies a view in one walk from its first section to its last: keeps, drops or adds sections.
class view_builder {
 public:
  explicit view_builder(flat_view const& from) : from_{&from} {
    chunks_.reserve(from.chunks().size() + 2);
  }

  /// Takes the old sections up to `until` as they are; whole chunks are shared.
  void keep_until(flat_view::position until) {
    while (cursor_.chunk < until.chunk) {
      // A few loose sections join the chunk behind them instead of becoming a chunk of their own.
      if (cursor_.index == 0 && (pending_.size() == 0 || pending_.size() >= fewest)) {
        flush();
        chunks_.push_back(from_->chunks()[cursor_.chunk]);
      } else {
        copy_until(from_->chunks()[cursor_.chunk]->size());
      }
      cursor_ = {cursor_.chunk + 1, 0};
    }
    copy_until(until.index);
  }
  /// Leaves out the old sections up to `until`.
  void drop_until(flat_view::position until) noexcept { cursor_ = until; }
  void add(section_run const& run) {
    for (std::size_t i = 0; i < run.size(); ++i) pending_.append(run.sections[i], run.owners[i]);
  }

  [[nodiscard]] flat_view finish() {
    keep_until(from_->end_position());
    if (pending_.size() != 0 && pending_.size() < fewest && !chunks_.empty()) {
      section_run joined = *chunks_.back();
      for (std::size_t i = 0; i < pending_.size(); ++i)
        joined.append(pending_.sections[i], pending_.owners[i]);
      pending_ = std::move(joined);
      chunks_.pop_back();
    }
    flush();
    return flat_view{std::move(chunks_)};
  }

 private:
  static constexpr std::size_t fewest = chunk_capacity / 4;

  void copy_until(std::size_t index) {
    for (; cursor_.index < index; ++cursor_.index)
      pending_.append(from_->at(cursor_), from_->owner_at(cursor_));
  }

  /// Cuts what is pending into chunks of about equal size.
  void flush() {
    const std::size_t total = pending_.size();
    const std::size_t parts = (total + chunk_capacity - 1) / chunk_capacity;
    std::size_t from = 0;
    for (std::size_t part = 1; part <= parts; ++part) {
      const std::size_t until = total * part / parts;
      auto chunk = std::make_shared<section_chunk>();
      chunk->sections.reserve(until - from);
      chunk->owners.reserve(until - from);
      for (; from < until; ++from) {
        chunk->sections.push_back(pending_.sections[from]);
        chunk->owners.push_back(std::move(pending_.owners[from]));
      }
      chunks_.push_back(std::move(chunk));
    }
    pending_.clear();
  }

  flat_view const* from_;
  flat_view::position cursor_{};
  std::vector<chunk_pointer> chunks_;
  section_run pending_;
};

/// `changed` and one byte on either side: they show whether what was edited merges with its
/// neighbours.
[[nodiscard]] constexpr extent<guest_address> with_borders(extent<guest_address> changed) noexcept {
  constexpr std::uint64_t top = std::numeric_limits<std::uint64_t>::max();
  if (changed.first.value != 0) changed.first = changed.first - 1;
  if (changed.last.value != top) changed.last = changed.last + 1;
  return changed;
}

/// The last section of `view` that begins at or in front of `where`, if it reaches behind it.
[[nodiscard]] inline section const* crossing(flat_view const& view, guest_address where) noexcept {
  section const* const found = view.find(where);
  return found != nullptr && found->where.last > where ? found : nullptr;
}

/// Appends to `into` the sections visible `within`. Those at its ends reach as far as the sections
/// of `before` that lie across these ends: out there nothing was edited, so nothing is flattened.
///
///     before    [-------------- S ---------------]        S may be the merger of 100,000 regions
///     within                  |..edit..|
///     flattened               [a][ b ][c]
///     appended  [--------------a][ b ][c---------]
///
/// Requires: `within` has borders; `into` is empty, or ends with what an extent in front of
/// `within` appended. Fails: throws `std::bad_alloc`.
inline void flatten_between_neighbours(flat_view const& before, region_table const& regions,
                                       extent<guest_address> within, section_run& into) {
  const std::size_t begin = into.size();
  flatten(regions, within, into);
  if (begin == into.size()) return;
  if (const auto at = before.first_ending_at_or_after(within.first);
      at != before.end_position() && before.at(at).where.first < within.first) {
    section& first = into.sections[begin];
    if (begin != 0 && into.sections[begin - 1].where.last >= within.first) {
      // The section between two edits: the one in front has appended it as far as it went.
      into.sections[begin - 1].where.last = first.where.last;
      into.erase(begin);
    } else {
      const guest_address last = first.where.last;
      first = before.at(at);
      first.where.last = last;
      into.owners[begin] = before.owner_at(at);
    }
  }
  if (section const* const behind = crossing(before, within.last); behind != nullptr)
    into.sections.back().where.last = behind->where.last;
}

/// The view that follows `before` if only `changed` (sorted, disjoint) was edited since.
/// Ensures: the same sections as a view made from scratch. Cost: that of the regions that overlap
/// `changed`, however long the sections are that they merge with; one pointer for each 512
/// sections. Fails: throws `std::bad_alloc`.
[[nodiscard]] inline flat_view next_view(flat_view const& before, region_table const& regions,
                                         std::vector<extent<guest_address>> changed) {
  for (auto& one : changed) one = with_borders(one);
  coalesce(changed);
  view_builder builder{before};
  section_run flattened;
  for (auto next = changed.begin(); next != changed.end();) {
    const auto begin = before.first_ending_at_or_after(next->first);
    auto end = begin;
    flattened.clear();
    // One edit, and those behind it with a section in common.
    for (bool shared = true; shared;) {
      flatten_between_neighbours(before, regions, *next, flattened);
      end = before.first_beginning_after(next->last);
      section const* const behind = crossing(before, next->last);
      ++next;
      shared = behind != nullptr && next != changed.end() && behind->where.last >= next->first;
    }
    // An edit that is hidden below another region costs no copy.
    auto at = begin;
    std::size_t same = 0;
    for (; at != end && same < flattened.size() && before.at(at) == flattened.sections[same] &&
           before.owner_at(at) == flattened.owners[same];
         ++same)
      at = before.after(at);
    if (at == end && same == flattened.size()) continue;
    builder.keep_until(begin);
    builder.drop_until(end);
    builder.add(flattened);
  }
  return builder.finish();
}

}  // namespace tether::detail
