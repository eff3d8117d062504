// SPDX-License-Identifier: BSL-1.0
// The point of the demo: do CPU and device see the same bytes? Both are asked, in both directions,
// about every byte.
#pragma once

#include "guest_ram.hpp"
#include "must.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace demo {

/// The guest has written `frames` in turn `cpu_wrote`. The device reads them, and writes them in
/// turn `writes`; the CPU reads them. Answers the bytes at which one of the two does not see what
/// the other wrote.
/// Fails: throws `story_ended` where the device cannot.
template <class Device>
[[nodiscard]] std::uint64_t disagreements(guest_ram const& ram, frame_run frames, Device& device,
                                          turn cpu_wrote, turn writes) {
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
    for (std::size_t i = 0; i < bytes; ++i)
      wrong += saw[i] != wrote[i] || seen[i] != writing[i] ? 1U : 0U;
  }
  return wrong;
}

}  // namespace demo
