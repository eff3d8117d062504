// SPDX-License-Identifier: BSL-1.0
// The contents of a guest's memory, for tests of discards: every frame is marked first, and a frame
// that was really discarded reads as zeros afterwards. Also huge pages, for as long as a test needs
// them.
#pragma once

#include <tether/core/address.hpp>
#include <tether/topology/ram_block.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
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

/// Adds huge pages of the default size to the host's pool, and takes them out again at the end of
/// its scope.
class borrowed_huge_pages {
 public:
  explicit borrowed_huge_pages(std::uint64_t pages) : before_{read()} { write(before_ + pages); }
  borrowed_huge_pages(borrowed_huge_pages const&) = delete;
  borrowed_huge_pages& operator=(borrowed_huge_pages const&) = delete;
  ~borrowed_huge_pages() { write(before_); }

 private:
  static constexpr const char* pool = "/proc/sys/vm/nr_hugepages";
  static std::uint64_t read() {
    std::uint64_t pages = 0;
    std::ifstream{pool} >> pages;
    return pages;
  }
  static void write(std::uint64_t pages) { std::ofstream{pool} << pages << '\n'; }
  std::uint64_t before_;
};

}  // namespace tether_test
