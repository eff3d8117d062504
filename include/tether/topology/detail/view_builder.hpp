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

/// `changed` and every whole section that overlaps or meets it: a section's neighbours decide
/// whether it merges.
[[nodiscard]] inline extent<guest_address> widened_to_sections(
    flat_view const& view, extent<guest_address> changed) noexcept {
  constexpr std::uint64_t top = std::numeric_limits<std::uint64_t>::max();
  const guest_address from{changed.first.value == 0 ? 0 : changed.first.value - 1};
  const guest_address to{changed.last.value == top ? top : changed.last.value + 1};
  for (auto at = view.first_ending_at_or_after(from), end = view.first_beginning_after(to);
       at != end; at = view.after(at)) {
    changed.first = std::min(changed.first, view.at(at).where.first);
    changed.last = std::max(changed.last, view.at(at).where.last);
  }
  return changed;
}

/// The view that follows `before` if only `changed` (sorted, disjoint) was edited since.
/// Ensures: the same sections as a view made from scratch. Cost: that of the change, and one
/// pointer for each 512 sections. Fails: throws `std::bad_alloc`.
[[nodiscard]] inline flat_view next_view(flat_view const& before, region_table const& regions,
                                         std::vector<extent<guest_address>> changed) {
  for (auto& one : changed) one = widened_to_sections(before, one);
  coalesce(changed);
  view_builder builder{before};
  section_run flattened;
  for (auto const& one : changed) {
    const auto begin = before.first_ending_at_or_after(one.first);
    const auto end = before.first_beginning_after(one.last);
    flattened.clear();
    flatten(regions, one, flattened);
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
