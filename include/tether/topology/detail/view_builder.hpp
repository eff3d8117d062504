// SPDX-License-Identifier: BSL-1.0
// Makes the next view from the last one by copy-on-write: only what lies around the changed
// addresses is flattened and copied, every other chunk is shared.
#pragma once

#include <tether/topology/detail/chunk_group.hpp>
#include <tether/topology/detail/flatten.hpp>
#include <tether/topology/detail/region_table.hpp>
#include <tether/topology/detail/section_chunk.hpp>
#include <tether/topology/detail/section_run.hpp>
#include <tether/topology/flat_view.hpp>

#include <tether/core/extent.hpp>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace tether::detail {

/// Sections of a chunk, or of what was flattened (null), one behind the other.
struct view_piece {
  section_chunk const* from;
  std::size_t begin;
  std::size_t count;
};

/// What making a view needs and does not leave in it, kept from one commit to the next.
struct view_scratch {
  std::vector<extent<guest_address>> changed{};
  sweep_scratch sweep{};
  section_run flattened{};  ///< of every edit
  std::vector<view_piece> pieces{};
  std::vector<chunk_pointer> loose{};  ///< chunks that have no group yet
  std::vector<group_pointer> groups{};
};

/// Copies a view in one walk from its first section to its last: keeps, drops or adds sections.
/// What is not shared is copied once, from where it is to its new chunk.
///
///     pieces  --make_chunks-->  loose chunks  --make_groups-->  groups
///
/// A few loose sections join the chunk behind them instead of becoming a chunk of their own, and so
/// do a few loose chunks with a group.
class view_builder {
 public:
  /// Requires: `scratch.flattened` stays, and the rest of it but what is changed is empty.
  view_builder(flat_view const& from, view_scratch& scratch) noexcept
      : from_{&from}, made_{&scratch} {}

  /// Takes the old sections up to `until` as they are; whole chunks and groups are shared.
  void keep_until(flat_view::position until) {
    for (; cursor_.group < until.group; cursor_ = {cursor_.group + 1, 0, 0}) {
      if (cursor_.chunk == 0 && cursor_.index == 0 &&
          is_none_or_many(pending_, section_chunk::full) &&
          is_none_or_many(made_->loose.size() + (pending_ != 0), chunk_group::capacity)) {
        make_chunks();
        make_groups();
        made_->groups.push_back(from_->groups()[cursor_.group]);
      } else {
        keep_chunks_until(old_chunks().size());
      }
    }
    keep_chunks_until(until.chunk);
    if (cursor_.index != until.index) copy_until(until.index);
  }
  /// Leaves out the old sections up to `until`.
  void drop_until(flat_view::position until) noexcept { cursor_ = until; }
  /// Adds `count` of what was flattened. Requires: these stay as they are.
  void add(std::size_t begin, std::size_t count) { add({nullptr, begin, count}); }

  [[nodiscard]] flat_view finish() {
    keep_until(from_->end_position());
    chunk_pointer last;
    if (!is_none_or_many(pending_, section_chunk::full)) {
      if (made_->loose.empty()) loosen_last_group();
      if (!made_->loose.empty()) {
        last = std::move(made_->loose.back());
        made_->loose.pop_back();
        made_->pieces.insert(made_->pieces.begin(), {last.get(), 0, last->size()});
        pending_ += last->size();
      }
    }
    make_chunks();
    if (!is_none_or_many(made_->loose.size(), chunk_group::capacity)) loosen_last_group();
    make_groups();
    return flat_view{group_list{made_->groups}};
  }

 private:
  [[nodiscard]] static constexpr bool is_none_or_many(std::size_t loose,
                                                      std::size_t full) noexcept {
    return loose == 0 || loose >= full / 4;
  }
  [[nodiscard]] std::span<chunk_pointer const> old_chunks() const noexcept {
    return from_->groups()[cursor_.group]->chunks();
  }

  void keep_chunks_until(std::size_t until) {
    for (; cursor_.chunk < until; cursor_ = {cursor_.group, cursor_.chunk + 1, 0}) {
      if (cursor_.index == 0 && is_none_or_many(pending_, section_chunk::full)) {
        make_chunks();
        made_->loose.push_back(old_chunks()[cursor_.chunk]);
      } else {
        copy_until(old_chunks()[cursor_.chunk]->size());
      }
    }
  }
  void add(view_piece piece) {
    if (piece.count == 0) return;
    made_->pieces.push_back(piece);
    pending_ += piece.count;
  }
  void copy_until(std::size_t index) {
    add({old_chunks()[cursor_.chunk].get(), cursor_.index, index - cursor_.index});
    cursor_.index = index;
  }
  void loosen_last_group() {
    if (made_->groups.empty()) return;
    const auto chunks = made_->groups.back()->chunks();
    made_->loose.insert(made_->loose.begin(), chunks.begin(), chunks.end());
    made_->groups.pop_back();
  }

  /// Cuts the loose chunks into groups of about equal size.
  void make_groups() {
    const std::span all{made_->loose};
    const std::size_t parts = (all.size() + chunk_group::capacity - 1) / chunk_group::capacity;
    for (std::size_t part = 0; part != parts; ++part) {
      const std::size_t begin = all.size() * part / parts;
      const std::size_t end = all.size() * (part + 1) / parts;
      made_->groups.push_back(chunk_group::make(all.subspan(begin, end - begin)));
    }
    made_->loose.clear();
  }

  /// Cuts what is pending into chunks of about equal size.
  void make_chunks() {
    const std::size_t parts = (pending_ + section_chunk::full - 1) / section_chunk::full;
    std::size_t done = 0;
    auto piece = made_->pieces.begin();
    for (std::size_t part = 1; part <= parts; ++part) {
      const std::size_t size = pending_ * part / parts - done;
      auto chunk = section_chunk::make(size);
      while (chunk->size() != size) {
        const std::size_t count = std::min(piece->count, size - chunk->size());
        if (piece->from != nullptr) chunk->append(*piece->from, piece->begin, count);
        else chunk->append(made_->flattened, piece->begin, count);
        piece->begin += count;
        piece->count -= count;
        if (piece->count == 0) ++piece;
      }
      done += size;
      made_->loose.push_back(std::move(chunk));
    }
    made_->pieces.clear();
    pending_ = 0;
  }

  flat_view const* from_;
  view_scratch* made_;
  flat_view::position cursor_{};
  std::size_t pending_ = 0;  // sections of the pieces
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
                                       extent<guest_address> within, section_run& into,
                                       sweep_scratch& sweep) {
  const std::size_t begin = into.size();
  flatten(regions, within, into, sweep);
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

/// The view that follows `before` if only `scratch.changed` (sorted, disjoint) was edited since;
/// nullopt if that is `before` itself, because what was edited is hidden, or was taken back.
/// Ensures: the same sections as a view made from scratch. Cost: that of the regions that overlap
/// what was edited, however long the sections are that they merge with; one pointer for each full
/// group. Allocates nothing for nullopt once the scratch has grown.
/// Fails: throws `std::bad_alloc`.
[[nodiscard]] inline std::optional<flat_view> changed_view(flat_view const& before,
                                                           region_table const& regions,
                                                           view_scratch& scratch) {
  auto& changed = scratch.changed;
  for (auto& one : changed) one = with_borders(one);
  coalesce(changed);
  std::optional<view_builder> builder;
  section_run& flattened = scratch.flattened;
  for (auto next = changed.begin(); next != changed.end();) {
    const auto begin = before.first_ending_at_or_after(next->first);
    auto end = begin;
    const std::size_t old_size = flattened.size();
    // One edit, and those behind it with a section in common.
    for (bool shared = true; shared;) {
      flatten_between_neighbours(before, regions, *next, flattened, scratch.sweep);
      end = before.first_beginning_after(next->last);
      section const* const behind = crossing(before, next->last);
      ++next;
      shared = behind != nullptr && next != changed.end() && behind->where.last >= next->first;
    }
    // An edit that is hidden below another region costs no copy.
    auto at = begin;
    std::size_t same = old_size;
    for (; at != end && same < flattened.size() && before.at(at) == flattened.sections[same] &&
           before.owner_at(at) == flattened.owners[same];
         ++same)
      at = before.after(at);
    if (at == end && same == flattened.size()) {
      flattened.truncate(old_size);
      continue;
    }
    if (!builder) builder.emplace(before, scratch);
    builder->keep_until(begin);
    builder->drop_until(end);
    builder->add(old_size, flattened.size() - old_size);
  }
  if (!builder) return std::nullopt;
  return builder->finish();
}

/// As `changed_view`, with the edited extents, and `before` instead of nullopt.
[[nodiscard]] inline flat_view next_view(flat_view const& before, region_table const& regions,
                                         std::vector<extent<guest_address>> changed) {
  view_scratch scratch;
  scratch.changed = std::move(changed);
  auto made = changed_view(before, regions, scratch);
  return made ? std::move(*made) : before;
}

}  // namespace tether::detail
