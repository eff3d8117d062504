// SPDX-License-Identifier: BSL-1.0
// Free page reporting: the guest reports memory that is free *now*, and may use it again without
// notice, so its discards are always uncoordinated: nothing is discarded while anything pins.
#pragma once

#include <tether/discard/detail/batch.hpp>
#include <tether/discard/detail/guest_memory.hpp>
#include <tether/discard/frames.hpp>
#include <tether/discard/report.hpp>

#include <tether/core/address.hpp>
#include <tether/core/discard_permit.hpp>
#include <tether/core/extent.hpp>
#include <tether/fwd.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/inhibit/threading.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/detail/guarded_space.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>

namespace tether {

/// Discards reported memory. Stateless: any thread that the gate's `Threading` allows may call.
/// Requires: the address space and the gate outlive it; one gate for each address space, as for a
/// balloon.
template <class Threading>
class page_reporting {
 public:
  /// Bytes discarded under one permit, so that a hold waits for no more; a whole host page where
  /// that is larger. Nor for more than 512 ranges, or parts of one in different sections.
  static constexpr std::uint64_t bytes_per_permit = 64 * MiB;

  /// Reporting for `guest`. Both must live longer.
  page_reporting(address_space const& guest, discard_gate<Threading>& gate) noexcept
      : guest_{guest}, gate_{gate}, guarded_{guest, gate.id()} {}
  /// Refused: the gate is of another threading (tether[T1]).
  template <class Other>
  page_reporting(address_space const& guest, discard_gate<Other>& gate) noexcept
      : page_reporting{guest, detail::same_threading<Threading>(gate)} {}

  /// One element of the queue: the ranges that it reports, made of its descriptors' addresses and
  /// lengths as core/extent says. Complete it to the guest whatever the
  /// report says. A range, or the part of it that lies in one section, is left out as a whole, and
  /// counted as partial, if it does not begin and end on page boundaries of its block.
  /// `poison_value` is what the guest fills free pages with, if it negotiated that and checks it: a
  /// discarded page would read as zeros, so unless it is 0 nothing is discarded (counted as
  /// inhibited). A range that ends before it begins (an address and a length that wrap past 2^64)
  /// is counted as `not_ram`, with the frames of that length. So is what no longer fits into the
  /// counts: they never overflow.
  /// Ensures: once it is inhibited, the rest of the element is left alone.
  /// Cost: as `balloon::inflate`, with `bytes_per_permit`: ranges that touch are one run, and the
  /// runs that a permit covers go in one system call for each block of private memory.
  /// Source: virtio 1.2, 5.5.6.7 and VIRTIO_BALLOON_F_PAGE_POISON.
  discard_report report(std::span<extent<guest_address> const> element,
                        std::uint32_t poison_value = 0) noexcept {
    discard_report all;
    unread rest{element, poison_value == 0};
    while (next(rest, all)) {
      // The permit lives until the last madvise of the batch has returned.
      const auto permit = gate_.permit(discard_kind::uncoordinated);
      if (!permit) {
        all.inhibited += std::exchange(rest.frames, 0);
        rest.permitted = false;
        continue;
      }
      const auto view = guest_.view();  // keeps the memory alive until then
      detail::batch ready;
      std::uint64_t room = bytes_per_permit;
      for (std::size_t parts = 0; parts != detail::batch::capacity && next(rest, all); ++parts)
        if (!collect_first(rest, *view, room, ready, all)) break;
      ready.discard(permit, all, [](detail::complete_page const&, bool) noexcept {});
    }
    return all;
  }

 private:
  /// What of an element is still to be handled: the last `frames` of `range`, and all of `others`.
  struct unread {
    std::span<extent<guest_address> const> others;
    bool permitted;
    extent<guest_address> range{};
    std::uint64_t frames = 0;

    [[nodiscard]] extent<guest_address> first() const noexcept {
      return {range.last - (frames * frame_size - 1), range.last};
    }
  };

  /// The frames that a range touches; of one that wraps, those to both ends of the address space.
  /// At most 2^52 either way.
  static constexpr std::uint64_t frames_of(extent<guest_address> range) noexcept {
    constexpr std::uint64_t all = std::numeric_limits<std::uint64_t>::max() / frame_size;
    return ((range.last.value / frame_size - range.first.value / frame_size) & all) + 1;
  }

  /// Goes on to a range of whole frames that may be discarded, and counts those before it that may
  /// not. Returns whether there is one.
  bool next(unread& rest, discard_report& all) const noexcept {
    for (; rest.frames == 0 && !rest.others.empty(); rest.others = rest.others.subspan(1)) {
      rest.range = rest.others.front();
      const std::uint64_t touched = frames_of(rest.range);
      const std::uint64_t frames =
          std::min(touched, std::numeric_limits<std::uint64_t>::max() - all.requested);
      all.requested += frames;
      if (!guarded_.usable()) all.fail(frames, guarded_.usable().error());
      else if (!rest.permitted) all.inhibited += frames;
      else if (!rest.range.valid() || frames != touched) all.not_ram += frames;
      else if (!rest.range.aligned_to(frame_size)) all.partial += frames;
      else rest.frames = frames;
    }
    return rest.frames != 0;
  }

  /// Handles the part of `rest` in its first section, or in the hole before it, as far as the bytes
  /// of one permit go: adds it to `ready`, or counts why not. A frame that crosses a border is
  /// counted as `not_ram`. Returns false, with nothing done, if the permit has no room for a page.
  static bool collect_first(unread& rest, flat_view const& view, std::uint64_t& room,
                            detail::batch& ready, discard_report& all) noexcept {
    const auto handled = [&](std::uint64_t& counter, std::uint64_t frames) {
      counter += frames;
      rest.frames -= frames;
      return true;
    };
    extent<guest_address> here = rest.first();
    section const* const found = view.find(here.first);
    if (found != nullptr) {
      here.last = std::min(found->where.last, here.last);
    } else if (const auto above = view.first_beginning_after(here.first);
               above != view.end_position()) {
      here.last = std::min(view.at(above).where.first - std::uint64_t{1}, here.last);
    }
    // and not the size, because 2^64 does not fit
    const std::uint64_t distance = here.last - here.first;
    const std::uint64_t frames =
        distance / frame_size + (distance % frame_size == frame_size - 1 ? 1 : 0);
    if (frames == 0) return handled(all.not_ram, 1);
    if (found == nullptr || !detail::may_be_discarded(*found)) return handled(all.not_ram, frames);

    memory_backing& block = *found->memory;
    const std::uint64_t page = block.page_size();
    const std::uint64_t offset = detail::offset_in_block(*found, here.first);
    if (offset % page != 0 || frames * frame_size % page != 0) return handled(all.partial, frames);

    if (room < page && ready.size() != 0) return false;
    const std::uint64_t bytes =
        std::min(frames * frame_size, std::max(round_down(room, page), page));
    room -= std::min(bytes, room);
    ready.add({&block, offset, bytes, bytes / frame_size, nullptr});
    rest.frames -= bytes / frame_size;
    return true;
  }

  address_space const& guest_;
  discard_gate<Threading>& gate_;
  detail::guarded_space guarded_;
};

/// The gate's threading is the reporting's.
template <class Threading>
page_reporting(address_space const&, discard_gate<Threading>&) -> page_reporting<Threading>;

}  // namespace tether
