// SPDX-License-Identifier: BSL-1.0
// Free page reporting: the guest reports memory that is free *now*, and may use it again without
// notice, so its discards are always uncoordinated: nothing is discarded while anything pins.
#pragma once

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
#include <cstdint>
#include <limits>
#include <span>

namespace tether {

/// Discards reported memory. Stateless: any thread that the gate's `Threading` allows may call.
/// Requires: the address space and the gate outlive it; one gate for each address space, as for a
/// balloon.
template <class Threading>
class page_reporting {
 public:
  /// Bytes discarded under one permit, so that a hold waits for no more; a whole host page where
  /// that is larger.
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
  /// Source: virtio 1.2, 5.5.6.7 and VIRTIO_BALLOON_F_PAGE_POISON.
  discard_report report(std::span<extent<guest_address> const> element,
                        std::uint32_t poison_value = 0) noexcept {
    discard_report all;
    bool permitted = poison_value == 0;
    for (auto const& range : element) {
      const std::uint64_t frames =
          std::min(frames_of(range), std::numeric_limits<std::uint64_t>::max() - all.requested);
      all.requested += frames;
      if (!guarded_.usable()) all.fail(frames, guarded_.usable().error());
      else if (!permitted) all.inhibited += frames;
      else if (!range.valid() || frames != frames_of(range)) all.not_ram += frames;
      else if (!range.aligned_to(frame_size)) all.partial += frames;
      else permitted = discard(range, all);
    }
    return all;
  }

 private:
  /// The frames that a range touches; of one that wraps, those to both ends of the address space.
  /// At most 2^52 either way.
  static constexpr std::uint64_t frames_of(extent<guest_address> range) noexcept {
    constexpr std::uint64_t all = std::numeric_limits<std::uint64_t>::max() / frame_size;
    return ((range.last.value / frame_size - range.first.value / frame_size) & all) + 1;
  }

  /// Returns whether it was never inhibited.
  bool discard(extent<guest_address> range, discard_report& all) noexcept {
    std::uint64_t left = frames_of(range);
    while (left != 0) {
      const auto permit = gate_.permit(discard_kind::uncoordinated);
      if (!permit) {
        all.inhibited += left;
        return false;
      }
      const auto view = guest_.view();
      const guest_address at = range.last - (left * frame_size - 1);
      left -= discard_first({at, range.last}, *view, permit, all);
    }
    return true;
  }

  /// Handles the part of `rest` in its first section, or in the hole before it, up to the bytes of
  /// one permit. Returns how many frames that was. A frame that crosses a border is counted as
  /// `not_ram`. Requires: whole frames.
  static std::uint64_t discard_first(extent<guest_address> rest, flat_view const& view,
                                     discard_permit const& permit, discard_report& all) noexcept {
    section const* const found = view.find(rest.first);
    extent<guest_address> here = rest;
    if (found != nullptr) {
      here.last = std::min(found->where.last, rest.last);
    } else if (const auto next = view.first_beginning_after(rest.first);
               next != view.end_position()) {
      here.last = std::min(view.at(next).where.first - std::uint64_t{1}, rest.last);
    }
    // and not the size, because 2^64 does not fit
    const std::uint64_t distance = here.last - here.first;
    const std::uint64_t frames =
        distance / frame_size + (distance % frame_size == frame_size - 1 ? 1 : 0);
    if (frames == 0) return count(all.not_ram, 1);
    if (found == nullptr || !detail::may_be_discarded(*found)) return count(all.not_ram, frames);

    memory_backing& block = *found->memory;
    const std::uint64_t page = block.page_size();
    const std::uint64_t offset = detail::offset_in_block(*found, rest.first);
    if (offset % page != 0 || frames * frame_size % page != 0) return count(all.partial, frames);

    const std::uint64_t bytes = std::min(frames * frame_size, std::max(bytes_per_permit, page));
    all.calls += 1;
    if (const auto done =
            block.discard({block_offset{offset}, block_offset{offset + (bytes - 1)}}, permit);
        done) {
      return count(all.discarded, bytes / frame_size);
    } else {
      all.fail(bytes / frame_size, done.error());
      return bytes / frame_size;
    }
  }

  static std::uint64_t count(std::uint64_t& counter, std::uint64_t frames) noexcept {
    counter += frames;
    return frames;
  }

  address_space const& guest_;
  discard_gate<Threading>& gate_;
  detail::guarded_space guarded_;
};

/// The gate's threading is the reporting's.
template <class Threading>
page_reporting(address_space const&, discard_gate<Threading>&) -> page_reporting<Threading>;

}  // namespace tether
