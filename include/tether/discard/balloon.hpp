// SPDX-License-Identifier: BSL-1.0
// The device side of virtio-balloon: the guest names frames that it does not need, and the host
// discards their memory, unless a hold inhibits that. Contains no virtio transport: bytes of a
// queue go in, a report comes out.
//
//   bytes -> frames -> [permit] -> guest_memory -> (partial_pages) -> batch -> discard
//                                                                        \--> population (units)
//
// Where memory is divided into units (topology/population), a unit goes once the guest has given
// all of its frames, also while devices are attached that map it in blocks.
//
// Frames that arrive in several batches, or several requests, complete a host page only if no edit
// of the memory map concerned its memory in between (topology/edit_generation): after one, the
// guest may use inflated frames again without telling the host.
#pragma once

#include <tether/discard/detail/batch.hpp>
#include <tether/discard/detail/checked_view.hpp>
#include <tether/discard/detail/frame_records.hpp>
#include <tether/discard/detail/guest_memory.hpp>
#include <tether/discard/frames.hpp>
#include <tether/discard/populate_failure.hpp>
#include <tether/discard/report.hpp>

#include <tether/core/error.hpp>
#include <tether/fwd.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/inhibit/threading.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/detail/guarded_space.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/unit_source.hpp>

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
  /// may the frames of one host page come in several requests, and units of divided memory be
  /// discarded; without it, pages that are incomplete at the end of a request are dropped. Either
  /// way, an edit of the map that hides, moves or removes memory, or changes its access rights,
  /// voids the record of which of its frames were inflated.
  bool must_tell_host = false;
  /// Frames of divided memory go with their unit only, also while nothing pins, where they would go
  /// at once: a request of Linux's, 256 frames, splits a transparent huge page, and one that is
  /// split comes back as small pages. So memory is divided into what those are, 2 MiB. What never
  /// completes a unit stays with the guest. Needs `must_tell_host`, without which it does nothing;
  /// memory that is not divided is discarded as ever.
  bool whole_units_only = false;
  /// Allocates the records of inflated frames, about a bit for each. Only needed for host pages
  /// larger than 4 KiB, and for divided memory. Must be thread-safe if the gate is, and outlive the
  /// balloon.
  std::pmr::memory_resource* memory = std::pmr::get_default_resource();
};

/// Discards the frames that a guest inflates. Threads: as the gate's `Threading` says.
/// Requires: the address space and the gate outlive it; the gate is the one that every user of this
/// address space has, otherwise nothing is discarded and each report says so (`other_gate`). One
/// that is destroyed leaves discarded units as they are: `reset` brings them back.
template <class Threading, class PopulateFailure>
class balloon {
  static_assert(detail::says_how_long<PopulateFailure>,
                "tether[F1]: a balloon's second policy says how long the guest waits for memory "
                "that cannot be brought back: 'static constexpr std::uint32_t busy_milliseconds' "
                "and 'failed_milliseconds'; take fence_device or hold_guest<Milliseconds>");

 public:
  /// Frames under one permit, so that a hold never waits for more than discarding 2 MiB of frames.
  /// Linux sends 256 at once.
  static constexpr std::size_t frames_per_permit = detail::batch::capacity;

  /// A balloon for `guest`. Both must live longer.
  balloon(address_space const& guest, discard_gate<Threading>& gate,
          balloon_options options = {}) noexcept
      : guest_{guest},
        gate_{gate},
        guarded_{guest, gate.id()},
        options_{options},
        gathered_{options.memory, options.must_tell_host, options.whole_units_only} {}
  /// Refused: the gate is of another threading (tether[T1]).
  template <class Other>
  balloon(address_space const& guest, discard_gate<Other>& gate,
          balloon_options options = {}) noexcept
      : balloon{guest, detail::same_threading<Threading>(gate), options} {}
  balloon(balloon const&) = delete;
  balloon& operator=(balloon const&) = delete;

  /// Discards the frames that the guest inflates: little-endian 32-bit numbers of 4 KiB frames
  /// (PFNs), as in the queue. Fewer than 4 bytes at the end are ignored. Acknowledge the request to
  /// the guest whatever the report says: inhibited frames are neither queued nor discarded later.
  /// Never fails as a whole; a frame that cannot be discarded does not stop the others.
  /// While only coordinated discards are allowed, frames of divided memory wait until their unit is
  /// complete, and no others are discarded; while all are, frames of 4 KiB go at once, but for
  /// `whole_units_only`.
  /// Cost: one system call for each block of private memory in `frames_per_permit`, in any order;
  /// one for each run of adjacent pages where the memory is a file, or Linux is older than 6.15, or
  /// a sandbox denies process_madvise (which is asked once). A sandbox that kills for an unknown
  /// call must allow it. Allocates only for host pages larger than 4 KiB.
  /// Source: virtio 1.2, 5.5.6; QEMU d3f1f940eb, ed48c59875, b27b323914, ffa207d082.
  discard_report inflate(std::span<std::byte const> little_endian) noexcept {
    return mark_free(little_endian_frames{little_endian});
  }
  /// As above, for numbers in host byte order.
  discard_report inflate(std::span<std::uint32_t const> frames) noexcept {
    return mark_free(host_order_frames{frames});
  }

  /// The guest uses these frames again: acknowledge the request after this. A unit of divided
  /// memory that had gone is brought in and mapped in every container before it returns; other
  /// memory is not populated, the first access faults in a zeroed page. Their host pages are
  /// incomplete from now on, also if they were inflated through an alias. Holds do not matter here,
  /// and no frame fails. By what the map shows at that moment:
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

  /// The device was reset: the guest uses all frames again. Every unit that had gone is brought
  /// back first (law 23): complete the reset after this.
  discard_report reset() noexcept {
    discard_report report;
    std::lock_guard lock{mutex_};
    gathered_.clear();
    gathered_.for_each_source([&](unit_source& units) {
      for (std::uint64_t which = 0; which < units.units().units() && units.size() != 0; ++which)
        bring_back(units, which, report);
    });
    return report;
  }

 private:
  /// How many views are tried for a frame of a larger page while the map keeps changing.
  static constexpr unsigned views_for_a_frame = 4;

  template <class Frames>
  discard_report mark_free(Frames frames) noexcept {
    detail::inflate_request now{options_.memory};
    discard_report& report = now.report;
    report.requested = frames.size();
    if (!guarded_.usable()) {
      report.fail(frames.size(), guarded_.usable().error());
      return report;
    }
    for (std::size_t begin = 0; begin < frames.size();) {
      std::size_t end = std::min(begin + frames_per_permit, frames.size());
      // The permit lives until the last madvise of the batch has returned.
      if (const auto permit = gate_.permit(discard_kind::uncoordinated); permit) {
        end = discard_some(frames, begin, end, permit, now);
      } else if (const auto for_units = gate_.permit(discard_kind::coordinated); !for_units) {
        report.inhibited += end - begin;
      } else if (options_.must_tell_host) {
        end = discard_some(frames, begin, end, for_units, now);
      } else {
        report.inhibit(end - begin,
                       "devices map in blocks: negotiate VIRTIO_BALLOON_F_MUST_TELL_HOST "
                       "(balloon_options::must_tell_host), and divide the memory into units");
      }
      begin = end;
    }
    return report;
  }

  /// Handles frames under one permit: up to `end`, or to where a newer view of the map is needed.
  /// Returns how far it got.
  template <class Frames>
  std::size_t discard_some(Frames frames, std::size_t begin, std::size_t end,
                           discard_permit const& permit, detail::inflate_request& now) noexcept {
    // the view keeps the memory alive until the batch is discarded
    detail::checked_view view{guest_};
    detail::guest_memory memory{*view};
    const auto discard_batch = [&](detail::frame_records& records) {
      records.erase_expired(view.guard());
      for (std::size_t at = begin; at < end; ++at) {
        if (records.add(frames[at], view, memory, permit, now)) continue;
        // The map has changed meanwhile: the rest uses a newer view. A frame that finds several
        // outdated is not discarded.
        if (at != begin || ++now.outdated < views_for_a_frame) end = at;
        else now.report.partial += 1, now.outdated = 0;
      }
      now.discard_ready(permit.coordinated() || options_.whole_units_only, permit);
    };
    if (options_.must_tell_host) {
      // Locked while discarding, too: a frame that is deflated concurrently must not return to
      // the guest before its page has been discarded.
      std::lock_guard lock{mutex_};
      discard_batch(gathered_);
    } else {
      discard_batch(now.records);
    }
    if (begin != end) now.outdated = 0;
    return end;
  }

  void bring_back(unit_source& units, std::uint64_t which, discard_report& report) noexcept {
    if (!units.wants_gone(which)) return;
    detail::bring_back<PopulateFailure>(
        units, which, [this] { return gate_.permit(discard_kind::coordinated); }, report);
  }

  template <class Frames>
  discard_report mark_used(Frames frames) noexcept {
    discard_report report;
    report.requested = frames.size();
    const auto view = guest_.view();
    detail::guest_memory memory{*view};
    std::lock_guard lock{mutex_};
    gathered_.erase_expired(view);
    for (std::size_t at = 0; at < frames.size(); ++at) {
      const auto frame = frame_extent(frames[at]);
      (memory.find_discardable(frame) != nullptr ? report.returned : report.not_ram) += 1;
      memory.for_each_in(frame, [&](section const& one) {
        if (one.memory == nullptr) return;
        const auto part = *one.where.intersection(frame);
        const std::uint64_t first = detail::offset_in_block(one, part.first);
        const std::uint64_t last = detail::offset_in_block(one, part.last);
        for (const std::uint64_t offset : {first, last}) {
          gathered_.mark_used(*one.memory, offset);
          if (auto* const units = gathered_.source_of(*one.memory); units != nullptr)
            bring_back(*units, units->units().unit_at(block_offset{offset}), report);
        }
      });
    }
    return report;
  }

  address_space const& guest_;
  discard_gate<Threading>& gate_;
  detail::guarded_space guarded_;
  balloon_options options_;
  typename Threading::mutex mutex_;
  detail::frame_records gathered_;
};

/// The gate's threading is the balloon's.
template <class Threading>
balloon(address_space const&, discard_gate<Threading>&, balloon_options = {}) -> balloon<Threading>;

}  // namespace tether
