// SPDX-License-Identifier: BSL-1.0
// The contents of a guest's memory, for tests of discards: every frame is marked first, and a frame
// that was really discarded reads as zeros afterwards.
#pragma once

#include <tether/core/address.hpp>
#include <tether/topology/ram_block.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace tether_test {

inline constexpr std::uint64_t frame = 4 * tether::KiB;

/// Writes to every byte of the frame at `offset`, never a zero.
inline void mark(tether::ram_block const& ram, std::uint64_t offset) {
  std::memset(ram.data() + offset, static_cast<int>(1 + (offset / frame) % 251), frame);
}
inline void mark_all(tether::ram_block const& ram) {
  for (std::uint64_t offset = 0; offset < ram.size(); offset += frame) mark(ram, offset);
}
[[nodiscard]] inline bool all_are(std::span<std::byte const> bytes, std::byte value) {
  return bytes.front() == value &&
         std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}
/// Whether the frame is as `mark` left it.
[[nodiscard]] inline bool is_marked(tether::ram_block const& ram, std::uint64_t offset) {
  return all_are({ram.data() + offset, frame}, std::byte(1 + (offset / frame) % 251));
}
/// Whether the frame reads as zeros. Reading faults a new page in.
[[nodiscard]] inline bool went(tether::ram_block const& ram, std::uint64_t offset) {
  return all_are({ram.data() + offset, frame}, std::byte{0});
}
/// How many frames of the block are as `mark` left them, and how many were discarded. The rest is
/// torn: there must be none.
struct counts {
  std::uint64_t marked = 0;
  std::uint64_t gone = 0;
  friend bool operator==(counts const&, counts const&) = default;
};
[[nodiscard]] inline counts count(tether::ram_block const& ram) {
  counts all;
  for (std::uint64_t offset = 0; offset < ram.size(); offset += frame) {
    if (is_marked(ram, offset)) all.marked += 1;
    else if (went(ram, offset)) all.gone += 1;
  }
  return all;
}

/// Frame numbers from `first`, upwards.
[[nodiscard]] inline std::vector<std::uint32_t> frames_up(std::uint32_t first,
                                                          std::uint32_t count) {
  std::vector<std::uint32_t> numbers(count);
  for (std::uint32_t i = 0; i < count; ++i) numbers[i] = first + i;
  return numbers;
}
/// The same, counting down, as Linux's balloon mostly does.
[[nodiscard]] inline std::vector<std::uint32_t> frames_down(std::uint32_t first,
                                                            std::uint32_t count) {
  auto numbers = frames_up(first, count);
  std::ranges::reverse(numbers);
  return numbers;
}

}  // namespace tether_test
