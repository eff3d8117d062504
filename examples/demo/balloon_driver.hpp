// SPDX-License-Identifier: BSL-1.0
// The guest's half of virtio-balloon, as Linux does it: 32-bit little-endian numbers of 4 KiB
// frames, mostly counting down, in arrays of 256.
#pragma once

#include "guest_ram.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace demo {

/// Calls `queue(bytes)` for each array that puts the frames, the last one first, into a virtqueue.
template <class Queue>
void send_frames(frame_run frames, Queue queue) {
  constexpr std::uint32_t most = 256;
  std::array<std::byte, most * 4> array{};
  for (std::uint32_t left = frames.count; left != 0;) {
    const std::uint32_t now = std::min(left, most);
    for (std::uint32_t i = 0; i < now; ++i) {
      const std::uint32_t number = frames.first + left - 1 - i;
      for (std::uint32_t byte = 0; byte < 4; ++byte)
        array[i * 4 + byte] = static_cast<std::byte>(number >> (8 * byte));
    }
    queue(std::span<std::byte const>{array.data(), now * std::size_t{4}});
    left -= now;
  }
}

}  // namespace demo
