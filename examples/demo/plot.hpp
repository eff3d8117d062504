// SPDX-License-Identifier: BSL-1.0
// Which frames play which part, the same with and without tether:
//
//     |       early       |       |   while_attached   |       |    while_mediated    |
//      before the attach           with the NIC there,           with a mediated device
//                                  and again after its unplug    there too
//
// The frames between them are written once and must stay as they are.
#pragma once

#include "guest_ram.hpp"

#include <cstdint>

namespace demo {

struct plot {
  frame_run all;
  frame_run early;
  frame_run while_attached;
  frame_run while_mediated;

  explicit constexpr plot(std::uint64_t memory) noexcept {
    const auto frames = static_cast<std::uint32_t>(memory / frame_size);
    // whole pages of a host whose pages are 64 KiB
    const std::uint32_t part = frames / 8 / 16 * 16;
    all = {0, frames};
    early = {part, part};
    while_attached = {3 * part, part};
    while_mediated = {5 * part, part};
  }
  /// Frames that the guest gives back in the whole story.
  [[nodiscard]] constexpr std::uint64_t requested() const noexcept {
    return std::uint64_t{early.count} + while_attached.count + while_mediated.count +
           while_attached.count;
  }
  /// How much a mediated device reads and writes: one request each, for kernels that unpin slowly.
  [[nodiscard]] constexpr frame_run for_the_mediated_one() const noexcept {
    return {while_attached.first, 16};
  }
};

/// What the CPU must see at the end, in all frames. Answers how many bytes differ.
[[nodiscard]] inline std::uint64_t bytes_lost(guest_ram const& ram, plot const& plot) noexcept {
  const auto from_to = [](std::uint32_t first, std::uint32_t end) {
    return frame_run{first, end - first};
  };
  const auto end_of = [](frame_run frames) { return frames.first + frames.count; };
  const frame_run mediated = plot.for_the_mediated_one();
  return ram.wrong_bytes(from_to(0, plot.early.first), turn::boot) +
         ram.wrong_bytes(plot.early, turn::device_wrote) +
         ram.wrong_bytes(from_to(end_of(plot.early), plot.while_attached.first), turn::boot) +
         ram.wrong_bytes(mediated, turn::mediated_wrote) +
         ram.wrong_bytes(from_to(end_of(mediated), end_of(plot.while_attached)),
                         turn::touched_again) +
         ram.wrong_bytes(from_to(end_of(plot.while_attached), plot.while_mediated.first),
                         turn::boot) +
         ram.wrong_bytes(plot.while_mediated, turn::device_wrote) +
         ram.wrong_bytes(from_to(end_of(plot.while_mediated), end_of(plot.all)), turn::boot);
}

}  // namespace demo
