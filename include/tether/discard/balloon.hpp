// SPDX-License-Identifier: BSL-1.0
// virtio-balloon's work: the guest names frames that it does not need, the host gets their memory back,
// unless somebody holds discards down. Speaks no virtio: bytes of a queue go in, a report comes out.
//
//   bytes -> frames -> [permit] -> guest_memory -> (partial_pages) -> batch -> memory_backing::discard
#pragma once

#include <tether/discard/batch.hpp>
#include <tether/discard/frames.hpp>
#include <tether/discard/guest_memory.hpp>
#include <tether/discard/partial_pages.hpp>
#include <tether/discard/report.hpp>

#include <tether/core/error.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/guarded_space.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <mutex>
#include <span>
#include <system_error>

namespace tether {

/// What was negotiated with the guest, and with the host.
struct balloon_options {
  /// VIRTIO_BALLOON_F_MUST_TELL_HOST: the guest uses no frame before it has deflated it. Only then may frames of one host page
  /// come in several requests; without it, what is incomplete at the end of a request is forgotten.
  bool must_tell_host = false;
  /// Where frames of incomplete host pages are noted. Only needed for host pages larger than 4 KiB. Must be thread-safe if the
  /// gate is, and outlive the balloon.
  std::pmr::memory_resource* memory = std::pmr::get_default_resource();
};

/// Gives guest frames back to the host. Threads: as the gate's `Threading` says.
/// Requires: the address space and the gate outlive it; the gate is the one that everybody uses with this address space, else nothing
/// is discarded and each report says so (`other_gate`).
template <class Threading = multi_threaded>
class balloon {
 public:
  /// Frames under one permit, so that a hold never waits for more than discarding 2 MiB of frames. Linux sends 256 at once.
  static constexpr std::size_t frames_per_permit = detail::batch::capacity;

  balloon(address_space const& guest, discard_gate<Threading>& gate, balloon_options options = {}) noexcept
      : guest_{guest}, gate_{gate}, guarded_{guest, gate.id()}, options_{options}, gathered_{options.memory} {}
  balloon(balloon const&) = delete;
  balloon& operator=(balloon const&) = delete;

  /// Discards what the guest gives: little-endian 32-bit numbers of 4 KiB frames, as they lie in the queue. Fewer than 4 bytes
  /// at the end are ignored. Acknowledge the request to the guest whatever the report says: what was inhibited is not queued
  /// and never made up for. Never fails as a whole; a frame that cannot go keeps no other from going.
  /// Cost: one system call for each run of neighbouring pages in `frames_per_permit`, in any order; allocates only for host
  /// pages larger than 4 KiB.
  /// Source: virtio 1.2, 5.5.6; QEMU d3f1f940eb, ed48c59875, b27b323914, ffa207d082.
  discard_report inflate(std::span<std::byte const> little_endian) noexcept { return give(little_endian_frames{little_endian}); }
  /// As above, for numbers in this process's own byte order.
  discard_report inflate(std::span<std::uint32_t const> frames) noexcept { return give(host_order_frames{frames}); }

  /// The guest uses these frames again. Nothing is read back: the first touch brings a zeroed page. Their host pages are
  /// incomplete from now on. Inhibition does not matter here.
  discard_report deflate(std::span<std::byte const> little_endian) noexcept { return take_back(little_endian_frames{little_endian}); }
  discard_report deflate(std::span<std::uint32_t const> frames) noexcept { return take_back(host_order_frames{frames}); }

  /// The device was reset: the guest has everything again.
  void reset() noexcept {
    std::lock_guard lock{mutex_};
    gathered_.clear();
  }

 private:
  template <class Frames>
  discard_report give(Frames frames) noexcept {
    discard_report report;
    report.requested = frames.size();
    if (!guarded_.usable()) {
      report.fail(frames.size(), guarded_.usable().error());
      return report;
    }
    detail::batch ready;
    detail::partial_pages of_this_request{options_.memory};
    const std::uint64_t request = next_request();

    for (std::size_t begin = 0; begin < frames.size(); begin += frames_per_permit) {
      const std::size_t end = std::min(begin + frames_per_permit, frames.size());
      // The permit lives until the last madvise of the batch has returned; the view keeps the memory until then.
      const auto permit = gate_.permit(discard_kind::uncoordinated);
      if (!permit) {
        report.inhibited += end - begin;
        continue;
      }
      const auto view = guest_.view();
      detail::guest_memory memory{*view};
      const auto give_batch = [&](detail::partial_pages& pages) {
        for (std::size_t at = begin; at < end; ++at) give_one(frames[at], memory, pages, request, ready, report);
        ready.discard(permit, report, [&](detail::piece const& one, bool gone) { settle(one, gone, request, report); });
      };
      if (options_.must_tell_host) {
        // Also while discarding: a frame that is deflated meanwhile must not return to the guest before its page is gone.
        std::lock_guard lock{mutex_};
        give_batch(gathered_);
      } else {
        give_batch(of_this_request);
      }
    }
    return report;
  }

  /// A number for telling this request's frames from earlier ones, where pages outlive a request.
  std::uint64_t next_request() noexcept {
    if (!options_.must_tell_host) return 1;
    std::lock_guard lock{mutex_};
    return ++requests_;
  }

  static void give_one(std::uint32_t number, detail::guest_memory& memory, detail::partial_pages& pages, std::uint64_t request,
                       detail::batch& ready, discard_report& report) noexcept {
    const auto frame = frame_extent(number);
    section const* const found = memory.find_discardable(frame);
    if (found == nullptr) {
      report.not_ram += 1;
      return;
    }
    memory_backing& block = *found->memory;
    const std::uint64_t offset = detail::offset_in_block(*found, frame.first);
    if (block.page_size() == frame_size && offset % frame_size == 0) {
      ready.add({&block, offset, frame_size, 1, nullptr});
    } else if (offset % frame_size != 0) {
      report.partial += 1;  // it lies across two host pages, and is all of neither
    } else if (detail::partial_page* const page = pages.at(block, memory.owner(), offset); page == nullptr) {
      report.fail(1, error{"note a part of a host page", std::make_error_code(std::errc::not_enough_memory)}.at(frame).of(block.name()));
    } else {
      give_part(*page, block, offset, request, ready, report);
    }
  }

  static void give_part(detail::partial_page& page, memory_backing& block, std::uint64_t offset, std::uint64_t request,
                        detail::batch& ready, discard_report& report) noexcept {
    page.seen_by(request);
    page.give(offset % block.page_size() / frame_size);
    if (page.gone_in == request) {
      report.discarded += 1;  // named twice
    } else if (page.queued != detail::partial_page::not_queued) {
      ready[page.queued].frames += 1;
    } else if (page.complete()) {
      page.queued = ready.add({&block, round_down(offset, block.page_size()), block.page_size(), 1, &page});
    } else {
      report.partial += 1;
      page.waiting_here += 1;
    }
  }

  /// A host page went, or did not: the frames that waited for it are told so.
  static void settle(detail::piece const& one, bool gone, std::uint64_t request, discard_report& report) noexcept {
    if (one.page == nullptr) return;
    one.page->queued = detail::partial_page::not_queued;
    if (!gone) return;
    const std::uint64_t named = one.frames + one.page->waiting_here;
    report.partial -= one.page->waiting_here;
    report.discarded += one.page->waiting_here;
    if (one.page->gone_in == 0) report.completed += one.page->frames() - std::min(one.page->frames(), named);
    one.page->waiting_here = 0;
    one.page->gone_in = request;
  }

  template <class Frames>
  discard_report take_back(Frames frames) noexcept {
    discard_report report;
    report.requested = frames.size();
    const auto view = guest_.view();
    detail::guest_memory memory{*view};
    std::lock_guard lock{mutex_};
    for (std::size_t at = 0; at < frames.size(); ++at) {
      const auto frame = frame_extent(frames[at]);
      section const* const found = memory.find_discardable(frame);
      if (found == nullptr) {
        report.not_ram += 1;
        continue;
      }
      report.returned += 1;
      gathered_.take_back(*found->memory, detail::offset_in_block(*found, frame.first));
    }
    return report;
  }

  address_space const& guest_;
  discard_gate<Threading>& gate_;
  detail::guarded_space guarded_;
  balloon_options options_;
  typename Threading::mutex mutex_;
  std::uint64_t requests_ = 0;
  detail::partial_pages gathered_;
};

}  // namespace tether
