// SPDX-License-Identifier: BSL-1.0
// What a balloon knows of the frames that a guest has inflated, where they complete something
// larger than themselves: a host page, or a unit of divided memory. Decides for each frame whether
// it goes at once, waits, or completes what is then discarded.
//
//     frame --> divided? -- no --> page of 4 KiB: goes         larger: waits for its host page
//                  |
//                  +---- yes ----> waits for its unit (goes at once as well, if nobody pins, and
//                                  whole units are not asked for)
#pragma once

#include <tether/discard/detail/batch.hpp>
#include <tether/discard/detail/checked_view.hpp>
#include <tether/discard/detail/guest_memory.hpp>
#include <tether/discard/detail/partial_pages.hpp>
#include <tether/discard/detail/request_notes.hpp>
#include <tether/discard/frames.hpp>
#include <tether/discard/report.hpp>

#include <tether/core/detail/exceptions.hpp>
#include <tether/core/discard_permit.hpp>
#include <tether/core/error.hpp>
#include <tether/topology/flat_view.hpp>
#include <tether/topology/memory_backing.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/unit_source.hpp>
#include <tether/topology/view_guard.hpp>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <memory_resource>
#include <utility>

namespace tether::detail {

struct inflate_request;

/// The records of one balloon, or, where the guest has not promised to tell, of one request. Not
/// thread-safe.
class frame_records {
 public:
  /// `gathers_units`: whether frames may complete units, over several requests. `whole_units_only`:
  /// whether they wait for these even where nobody pins.
  frame_records(std::pmr::memory_resource* memory, bool gathers_units,
                bool whole_units_only) noexcept
      : pages_{memory},
        sources_{memory},
        gathers_units_{gathers_units},
        whole_units_only_{whole_units_only} {}

  /// Returns whether the frame is accounted for. False, and nothing recorded, if an edit of the map
  /// may have concerned its block since the view was taken.
  [[nodiscard]] inline bool add(std::uint32_t number, checked_view& view, guest_memory& memory,
                                discard_permit const& permit, inflate_request& now) noexcept;

  /// Forgets memory that is gone, once for each view of the map. Requires: no page is in a batch.
  void erase_expired(view_guard const& now) noexcept {
    auto view = now.identity();
    if (!view.owner_before(looked_through_for_) && !looked_through_for_.owner_before(view)) return;
    looked_through_for_ = std::move(view);
    pages_.erase_expired();
    std::erase_if(sources_, [](auto const& one) { return one.second.expired(); });
  }
  /// The guest uses that frame again.
  void mark_used(memory_backing& block, std::uint64_t offset) noexcept {
    pages_.mark_used(block, offset);
  }
  void clear() noexcept { pages_.clear(); }

  /// The source of a block's units; null if none was discarded yet.
  [[nodiscard]] unit_source* source_of(memory_backing const& block) noexcept {
    const auto found = sources_.find(&block);
    // one that has expired is of an earlier block at this address
    return found == sources_.end() || found->second.expired() ? nullptr : &found->second;
  }
  template <class Visit>
  void for_each_source(Visit visit) noexcept {
    for (auto& [block, units] : sources_)
      if (!units.expired()) visit(units);
  }

 private:
  /// Null if out of memory.
  [[nodiscard]] unit_source* make_source(memory_backing const& block,
                                         population& divided) noexcept {
    if (auto* const known = source_of(block)) return known;
    sources_.erase(&block);
    TETHER_TRY { return &sources_.try_emplace(&block, divided).first->second; }
    TETHER_CATCH(...) { return nullptr; }
  }

  // needs `inflate_request`
  [[nodiscard]] inline bool add_to_page(block_records& records, memory_backing& block,
                                        std::uint64_t offset, unit_source* units,
                                        discard_permit const& permit,
                                        inflate_request& now) const noexcept;

  partial_pages pages_;
  std::pmr::map<memory_backing const*, unit_source> sources_;  // of divided memory
  bool gathers_units_;
  bool whole_units_only_;
  std::weak_ptr<flat_view const> looked_through_for_{};  // compared only
};

/// One inflate request while it is handled.
struct inflate_request {
  explicit inflate_request(std::pmr::memory_resource* memory) noexcept
      : records{memory, false, false}, notes{memory} {}

  /// Discards what is ready, and counts it. `waited`: whether earlier frames of a unit are still
  /// there, and have not gone one by one.
  void discard_ready(bool waited, discard_permit const& permit) noexcept {
    ready.discard(permit, report, [this, waited](complete_page const& one, bool discarded) {
      record(one, discarded, waited, notes, report);
    });
  }

  discard_report report{};
  batch ready{};
  frame_records records;  ///< where the guest has not promised to tell
  request_notes notes;
  unsigned outdated = 0;

 private:
  /// After an attempt to discard a host page or a unit. If it succeeded, the frames reported as
  /// partial or waiting so far become discarded ones. Earlier frames of a unit have `waited`, or
  /// gone one by one.
  static void record(complete_page const& one, bool discarded, bool waited, request_notes& request,
                     discard_report& report) noexcept {
    if (one.note == nullptr) return;
    page_in_request& note = *one.note;
    note.queued = page_in_request::not_queued;
    if (!discarded) return;
    const std::uint64_t named = one.frames + note.pending;
    (one.units() == nullptr ? report.partial : report.waiting) -= note.pending;
    report.discarded += note.pending;
    if ((one.units() == nullptr || waited) && !note.page.discarded())
      report.completed += note.page.frames() - std::min(note.page.frames(), named);
    note.page.mark_discarded();
    request.note_discarded(note);
  }
};

inline bool frame_records::add(std::uint32_t number, checked_view& view, guest_memory& memory,
                               discard_permit const& permit, inflate_request& now) noexcept {
  discard_report& report = now.report;
  const auto frame = frame_extent(number);
  section const* const found = memory.find_discardable(frame);
  if (found == nullptr) {
    // where other discards are inhibited, so is everything that is no unit
    (permit.coordinated() ? report.inhibited : report.not_ram) += 1;
    return true;
  }
  memory_backing& block = *found->memory;
  const std::uint64_t offset = offset_in_block(*found, frame.first);
  population* divided = gathers_units_ ? block.population() : nullptr;
  if (divided != nullptr && !divided->covers({block_offset{offset}, block_offset{offset}}))
    divided = nullptr;
  if (permit.coordinated() && divided == nullptr) {
    report.inhibit(1, "devices map in blocks: divide this memory into units before it is placed");
    return true;
  }
  if (offset % frame_size != 0) {
    report.partial += 1;  // it straddles two host pages
    return true;
  }
  if (block.page_size() == frame_size && divided == nullptr) {
    now.ready.add({&block, offset, frame_size, 1});
    return true;
  }
  const auto generation = view.generation_of(block);
  if (!generation) return false;
  const std::uint64_t bytes = divided == nullptr ? block.page_size() : divided->unit_size();
  block_records* records = pages_.of(block, *generation, bytes, memory.owner());
  if (records != nullptr && records->generation() != *generation) {
    if (now.ready.size() != 0) return false;  // a page of this block may be in the batch
    pages_.erase(block);
    records = pages_.of(block, *generation, bytes, memory.owner());
  }
  unit_source* const units = divided == nullptr ? nullptr : make_source(block, *divided);
  const bool recorded = records != nullptr && (divided == nullptr || units != nullptr) &&
                        add_to_page(*records, block, offset, units, permit, now);
  if (!recorded)
    report.fail(1, error::out_of_memory("note a part of a host page").at(frame).of(block.name()));
  return true;
}

/// Returns false, and nothing is recorded, if out of memory. A frame of 4 KiB of an incomplete
/// unit goes at once, where all discards are allowed and whole units are not asked for.
inline bool frame_records::add_to_page(block_records& records, memory_backing& block,
                                       std::uint64_t offset, unit_source* units,
                                       discard_permit const& permit,
                                       inflate_request& now) const noexcept {
  discard_report& report = now.report;
  const partial_page page = records.at(offset);
  if (!page) return false;
  const auto key = records.key_of(offset);
  if (page.discarded() && (units != nullptr || now.notes.has_discarded(key))) {
    report.discarded += 1;  // a duplicate: within the request, or of a unit that is gone
    return true;
  }
  page_in_request* const note = now.notes.at(key, page);
  if (note == nullptr) return false;
  note->units = units;
  page.mark_free(offset % records.page_bytes() / frame_size);
  if (note->queued != page_in_request::not_queued) {
    now.ready[note->queued].frames += 1;
  } else if (page.complete()) {
    note->queued = now.ready.add(
        {&block, round_down(offset, records.page_bytes()), records.page_bytes(), 1, note});
  } else if (units == nullptr) {
    report.partial += 1;
    note->pending += 1;
  } else if (!permit.coordinated() && !whole_units_only_ && block.page_size() == frame_size) {
    now.ready.add({&block, offset, frame_size, 1});
  } else {
    report.waiting += 1;
    note->pending += 1;
  }
  return true;
}

}  // namespace tether::detail
