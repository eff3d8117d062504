// SPDX-License-Identifier: BSL-1.0
// The device side of virtio-balloon: the guest names frames that it does not need, and the host
// discards their memory, unless a hold inhibits that. Contains no virtio transport: bytes of a
// queue go in, a report comes out.
//
//   bytes -> frames -> [permit] -> guest_memory -> (partial_pages) -> batch -> discard
//
// Frames that arrive in several batches, or several requests, complete a host page only if no edit
// of the memory map concerned its memory in between (topology/edit_generation): after one, the
// guest may use inflated frames again without telling the host.
#pragma once

#include <tether/discard/detail/batch.hpp>
#include <tether/discard/detail/checked_view.hpp>
#include <tether/discard/detail/guest_memory.hpp>
#include <tether/discard/detail/partial_pages.hpp>
#include <tether/discard/detail/request_notes.hpp>
#include <tether/discard/frames.hpp>
#include <tether/discard/report.hpp>

#include <tether/core/error.hpp>
#include <tether/fwd.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/detail/guarded_space.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <mutex>
#include <span>
#include <system_error>

namespace tether {

/// What was negotiated with the guest, and where to allocate.
struct balloon_options {
  /// VIRTIO_BALLOON_F_MUST_TELL_HOST: the guest uses no frame before it has deflated it. Only then
  /// may the frames of one host page come in several requests; without it, pages that are
  /// incomplete at the end of a request are dropped. Either way, an edit of the map that hides,
  /// moves or removes memory, or changes its access rights, voids the record of which of its frames
  /// were inflated.
  bool must_tell_host = false;
  /// Allocates the records of inflated frames, about a bit for each. Only needed for host pages
  /// larger than 4 KiB. Must be thread-safe if the gate is, and outlive the balloon.
  std::pmr::memory_resource* memory = std::pmr::get_default_resource();
};

/// Discards the frames that a guest inflates. Threads: as the gate's `Threading` says.
/// Requires: the address space and the gate outlive it; the gate is the one that every user of this
/// address space has, otherwise nothing is discarded and each report says so (`other_gate`).
template <class Threading>
class balloon {
 public:
  /// Frames under one permit, so that a hold never waits for more than discarding 2 MiB of frames.
  /// Linux sends 256 at once.
  static constexpr std::size_t frames_per_permit = detail::batch::capacity;

  balloon(address_space const& guest, discard_gate<Threading>& gate,
          balloon_options options = {}) noexcept
      : guest_{guest},
        gate_{gate},
        guarded_{guest, gate.id()},
        options_{options},
        gathered_{options.memory} {}
  balloon(balloon const&) = delete;
  balloon& operator=(balloon const&) = delete;

  /// Discards the frames that the guest inflates: little-endian 32-bit numbers of 4 KiB frames
  /// (PFNs), as in the queue. Fewer than 4 bytes at the end are ignored. Acknowledge the request to
  /// the guest whatever the report says: inhibited frames are neither queued nor discarded later.
  /// Never fails as a whole; a frame that cannot be discarded does not stop the others.
  /// Cost: one system call for each run of adjacent pages in `frames_per_permit`, in any order;
  /// allocates only for host pages larger than 4 KiB.
  /// Source: virtio 1.2, 5.5.6; QEMU d3f1f940eb, ed48c59875, b27b323914, ffa207d082.
  discard_report inflate(std::span<std::byte const> little_endian) noexcept {
    return mark_free(little_endian_frames{little_endian});
  }
  /// As above, for numbers in host byte order.
  discard_report inflate(std::span<std::uint32_t const> frames) noexcept {
    return mark_free(host_order_frames{frames});
  }

  /// The guest uses these frames again. Nothing is populated: the first access faults in a zeroed
  /// page. Their host pages are incomplete from now on, also if they were inflated through an
  /// alias. Holds do not matter here, and no frame fails. By what the map shows at that moment:
  ///
  ///     RAM, writable, in one section        in use again, counted as returned
  ///     RAM that is read-only, ROM           in use again, but counted as not_ram: it could not
  ///                                          be inflated now
  ///     several sections, or a part of one   all memory in it is in use again, in each block and
  ///                                          host page that it touches; counted as not_ram
  ///     a BAR, registers, an IOMMU window,   nothing is done: nothing was inflated there, and of
  ///     a hole, past the end of the map      memory hidden there the edit that hid it has voided
  ///                                          the records; counted as not_ram
  ///
  discard_report deflate(std::span<std::byte const> little_endian) noexcept {
    return mark_used(little_endian_frames{little_endian});
  }
  discard_report deflate(std::span<std::uint32_t const> frames) noexcept {
    return mark_used(host_order_frames{frames});
  }

  /// The device was reset: the guest uses all frames again.
  void reset() noexcept {
    std::lock_guard lock{mutex_};
    gathered_.clear();
  }

 private:
  /// How many views are tried for a frame of a larger page while the map keeps changing.
  static constexpr unsigned views_for_a_frame = 4;

  template <class Frames>
  discard_report mark_free(Frames frames) noexcept {
    discard_report report;
    report.requested = frames.size();
    if (!guarded_.usable()) {
      report.fail(frames.size(), guarded_.usable().error());
      return report;
    }
    detail::batch ready;
    detail::partial_pages of_this_request{options_.memory};
    detail::request_notes request{options_.memory};

    unsigned outdated = 0;
    for (std::size_t begin = 0; begin < frames.size();) {
      std::size_t end = std::min(begin + frames_per_permit, frames.size());
      // The permit lives until the last madvise of the batch has returned; the view keeps the
      // memory alive until then.
      const auto permit = gate_.permit(discard_kind::uncoordinated);
      if (!permit) {
        report.inhibited += end - begin;
        begin = end;
        continue;
      }
      detail::checked_view view{guest_};
      detail::guest_memory memory{*view};
      const auto discard_batch = [&](detail::partial_pages& pages) {
        pages.erase_expired();
        for (std::size_t at = begin; at < end; ++at) {
          if (add_frame(frames[at], view, memory, pages, request, ready, report)) continue;
          // The map has changed meanwhile: the rest uses a newer view. A frame that finds several
          // outdated is not discarded.
          if (at != begin || ++outdated < views_for_a_frame) end = at;
          else report.partial += 1, outdated = 0;
        }
        ready.discard(permit, report, [&](detail::complete_page const& one, bool discarded) {
          record_outcome(one, discarded, request, report);
        });
      };
      if (options_.must_tell_host) {
        // Locked while discarding, too: a frame that is deflated concurrently must not return to
        // the guest before its page has been discarded.
        std::lock_guard lock{mutex_};
        discard_batch(gathered_);
      } else {
        discard_batch(of_this_request);
      }
      if (begin != end) outdated = 0;
      begin = end;
    }
    return report;
  }

  /// Returns whether the frame is accounted for. False, and nothing recorded, if an edit of the map
  /// may have concerned its block since the view was taken.
  static bool add_frame(std::uint32_t number, detail::checked_view& view,
                        detail::guest_memory& memory, detail::partial_pages& pages,
                        detail::request_notes& request, detail::batch& ready,
                        discard_report& report) noexcept {
    const auto frame = frame_extent(number);
    section const* const found = memory.find_discardable(frame);
    if (found == nullptr) {
      report.not_ram += 1;
      return true;
    }
    memory_backing& block = *found->memory;
    const std::uint64_t offset = detail::offset_in_block(*found, frame.first);
    if (offset % frame_size != 0) {
      report.partial += 1;  // it straddles two host pages
      return true;
    }
    if (block.page_size() == frame_size) {
      ready.add({&block, offset, frame_size, 1, nullptr});
      return true;
    }
    const auto generation = view.generation_of(block);
    if (!generation) return false;
    detail::block_records* records = pages.of(block, *generation, memory.owner());
    if (records != nullptr && records->generation() != *generation) {
      if (ready.size() != 0) return false;  // a page of this block may be in the batch
      pages.erase(block);
      records = pages.of(block, *generation, memory.owner());
    }
    if (records == nullptr || !add_to_page(*records, block, offset, request, ready, report))
      report.fail(1, error::out_of_memory("note a part of a host page").at(frame).of(block.name()));
    return true;
  }

  /// Returns false, and nothing is recorded, if out of memory.
  static bool add_to_page(detail::block_records& records, memory_backing& block,
                          std::uint64_t offset, detail::request_notes& request,
                          detail::batch& ready, discard_report& report) noexcept {
    const detail::partial_page page = records.at(offset);
    if (!page) return false;
    const auto key = records.key_of(offset);
    if (page.discarded() && request.has_discarded(key)) {
      report.discarded += 1;  // a duplicate within the request
      return true;
    }
    detail::page_in_request* const note = request.at(key, page);
    if (note == nullptr) return false;
    page.mark_free(offset % block.page_size() / frame_size);
    if (note->queued != detail::page_in_request::not_queued) {
      ready[note->queued].frames += 1;
    } else if (page.complete()) {
      note->queued =
          ready.add({&block, round_down(offset, block.page_size()), block.page_size(), 1, note});
    } else {
      report.partial += 1;
      note->pending += 1;
    }
    return true;
  }

  /// After an attempt to discard a host page. If it succeeded, the frames reported as partial so
  /// far become discarded ones.
  static void record_outcome(detail::complete_page const& one, bool discarded,
                             detail::request_notes& request, discard_report& report) noexcept {
    if (one.note == nullptr) return;
    detail::page_in_request& note = *one.note;
    note.queued = detail::page_in_request::not_queued;
    if (!discarded) return;
    const std::uint64_t named = one.frames + note.pending;
    report.partial -= note.pending;
    report.discarded += note.pending;
    if (!note.page.discarded())
      report.completed += note.page.frames() - std::min(note.page.frames(), named);
    note.page.mark_discarded();
    request.note_discarded(note);
  }

  template <class Frames>
  discard_report mark_used(Frames frames) noexcept {
    discard_report report;
    report.requested = frames.size();
    const auto view = guest_.view();
    detail::guest_memory memory{*view};
    std::lock_guard lock{mutex_};
    gathered_.erase_expired();
    for (std::size_t at = 0; at < frames.size(); ++at) {
      const auto frame = frame_extent(frames[at]);
      (memory.find_discardable(frame) != nullptr ? report.returned : report.not_ram) += 1;
      memory.for_each_in(frame, [&](section const& one) {
        if (one.memory == nullptr) return;
        const auto part = *one.where.intersection(frame);
        const std::uint64_t first = detail::offset_in_block(one, part.first);
        const std::uint64_t last = detail::offset_in_block(one, part.last);
        gathered_.mark_used(*one.memory, first);
        if (last / frame_size != first / frame_size) gathered_.mark_used(*one.memory, last);
      });
    }
    return report;
  }

  address_space const& guest_;
  discard_gate<Threading>& gate_;
  detail::guarded_space guarded_;
  balloon_options options_;
  typename Threading::mutex mutex_;
  detail::partial_pages gathered_;
};

}  // namespace tether
