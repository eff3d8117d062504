// SPDX-License-Identifier: BSL-1.0
// Which frames play which part, the same with and without tether:
//
//     |    early    |    inhibited    |    late    |        the rest is written once and must stay as it is
//      before the     while the NIC     while a mediated
//      attach         is attached       device is there too; and the inhibited ones again after the unplug
#pragma once

#include "guest_ram.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace demo {

struct plot {
  frame_run all;
  frame_run early;
  frame_run while_attached;
  frame_run while_mediated;

  explicit constexpr plot(std::uint64_t memory) noexcept {
    const auto frames = static_cast<std::uint32_t>(memory / frame_size);
    const std::uint32_t part = frames / 8 / 16 * 16;  // whole pages of a host whose pages are 64 KiB
    all = {0, frames};
    early = {part, part};
    while_attached = {3 * part, part};
    while_mediated = {5 * part, part};
  }
  /// Frames that the guest gives back in the whole story.
  [[nodiscard]] constexpr std::uint64_t requested() const noexcept {
    return std::uint64_t{early.count} + while_attached.count + while_mediated.count + while_attached.count;
  }
  /// How much a mediated device reads and writes: one request each, for kernels that take their time to let a pin go.
  [[nodiscard]] constexpr frame_run for_the_mediated_one() const noexcept { return {while_attached.first, 16}; }
};

/// The guest has written `frames` in turn `cpu_wrote`. The device reads them, and writes them in turn `writes`; the CPU
/// reads them. Answers the bytes at which one of the two does not see what the other wrote.
/// Fails: throws what `Must` throws for a failed DMA.
template <class Device, class Must>
[[nodiscard]] std::uint64_t disagreements(guest_ram const& ram, frame_run frames, Device& device, turn cpu_wrote, turn writes, Must must) {
  constexpr std::uint64_t most = 64 * tether::KiB;
  std::vector<std::byte> expected(most);
  std::vector<std::byte> carried(most);
  std::vector<std::byte> read_by_device(most);
  std::uint64_t wrong = 0;
  for (std::uint64_t at = frames.begin(); at < frames.begin() + frames.bytes(); at += most) {
    const std::uint64_t bytes = std::min(most, frames.begin() + frames.bytes() - at);
    const std::span<std::byte> wrote{expected.data(), bytes};
    const std::span<std::byte> saw{read_by_device.data(), bytes};
    const std::span<std::byte> writing{carried.data(), bytes};
    pattern(wrote, at, cpu_wrote);
    must(device.dma_read(tether::io_address{at}, saw));
    pattern(writing, at, writes);
    must(device.dma_write(tether::io_address{at}, writing));
    const auto seen = ram.at(at, bytes);
    if (std::ranges::equal(saw, wrote) && std::ranges::equal(seen, writing)) continue;
    for (std::size_t i = 0; i < bytes; ++i) wrong += saw[i] != wrote[i] || seen[i] != writing[i] ? 1U : 0U;
  }
  return wrong;
}

}  // namespace demo
