// SPDX-License-Identifier: BSL-1.0
// The guest's memory and its CPU. Every byte that is written says where it lies and in which turn
// it was written, so that a byte from a page that nobody should see any more is never mistaken for
// the right one.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/mapping.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <sys/mman.h>

namespace demo {

inline constexpr std::uint64_t frame_size = 4 * tether::KiB;

/// Consecutive 4 KiB frames of the guest.
struct frame_run {
  std::uint32_t first = 0;
  std::uint32_t count = 0;

  [[nodiscard]] constexpr std::uint64_t begin() const noexcept { return first * frame_size; }
  [[nodiscard]] constexpr std::uint64_t bytes() const noexcept { return count * frame_size; }
  /// How many of them lie in whole units; none if there are no units.
  [[nodiscard]] constexpr std::uint64_t in_units(std::uint64_t unit) const noexcept {
    if (unit == 0) return 0;
    const std::uint64_t first_unit = (begin() + unit - 1) / unit;
    const std::uint64_t end = (begin() + bytes()) / unit;
    return end > first_unit ? (end - first_unit) * (unit / frame_size) : 0;
  }
};

/// Which turn a byte was written in. No two have a byte in common anywhere.
enum class turn : std::uint8_t { boot = 1, touched, device_wrote, touched_again, mediated_wrote };

/// What `into` holds once it was written in that turn. `at` is its guest address, a multiple of 8,
/// as is its size.
inline void pattern(std::span<std::byte> into, std::uint64_t at, turn when) noexcept {
  const std::uint64_t mark = static_cast<std::uint64_t>(when) * 0x0101'0101'0101'0101;
  for (std::size_t i = 0; i < into.size(); i += 8) {
    const std::uint64_t word = ((at + i) / 8 * 0x9e37'79b9'7f4a'7c15) ^ mark;
    std::memcpy(into.data() + i, &word, sizeof word);
  }
}

/// Private anonymous memory, as a VMM allocates it: aligned so that an IOMMU can use large pages.
class guest_ram {
 public:
  /// Fails: throws `std::bad_alloc`.
  explicit guest_ram(std::uint64_t size) : size_{size}, reserved_{size + alignment} {
    area_ = ::mmap(nullptr, reserved_, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area_ == MAP_FAILED) throw std::bad_alloc{};
    // A transparent huge page counts whole in VmPin, however little of it is pinned; small ones
    // count exactly.
    ::madvise(area_, reserved_, MADV_NOHUGEPAGE);
    auto* const begin = static_cast<std::byte*>(area_);
    begin_ = begin + (alignment - reinterpret_cast<std::uintptr_t>(begin) % alignment) % alignment;
  }
  guest_ram(guest_ram const&) = delete;
  guest_ram& operator=(guest_ram const&) = delete;
  ~guest_ram() { ::munmap(area_, reserved_); }

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] tether::host_address host() const noexcept {
    return tether::host_address{reinterpret_cast<std::uintptr_t>(begin_)};
  }
  [[nodiscard]] std::span<std::byte> at(std::uint64_t guest, std::uint64_t bytes) const noexcept {
    return {begin_ + guest, bytes};
  }
  [[nodiscard]] tether::mapping as_mapping() const noexcept {
    return {{tether::io_address{0}, tether::io_address{size_ - 1}}, host()};
  }

  /// The guest's CPU writes all of the frames.
  void write(frame_run frames, turn when) const noexcept {
    pattern(at(frames.begin(), frames.bytes()), frames.begin(), when);
  }
  /// The guest's CPU reads the frames. Answers how many bytes are not as they were last written.
  [[nodiscard]] std::uint64_t wrong_bytes(frame_run frames, turn when) const noexcept {
    alignas(8) std::byte expected[frame_size];
    std::uint64_t wrong = 0;
    for (std::uint64_t frame = frames.begin(); frame < frames.begin() + frames.bytes();
         frame += frame_size) {
      pattern(expected, frame, when);
      const auto seen = at(frame, frame_size);
      if (std::memcmp(seen.data(), expected, frame_size) == 0) continue;
      for (std::size_t i = 0; i < frame_size; ++i) wrong += seen[i] != expected[i] ? 1U : 0U;
    }
    return wrong;
  }

 private:
  static constexpr std::uint64_t alignment = 2 * tether::MiB;

  std::uint64_t size_;
  std::uint64_t reserved_;
  void* area_;
  std::byte* begin_;
};

}  // namespace demo
