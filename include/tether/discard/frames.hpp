// SPDX-License-Identifier: BSL-1.0
// The balloon's unit: a guest frame of 4 KiB, whatever the host's page size is, named by a 32-bit
// frame number (PFN). First step of every request: bytes from a virtqueue become guest addresses
// (GPAs).
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/extent.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace tether {

/// Bytes. Source: virtio, VIRTIO_BALLOON_PFN_SHIFT = 12, always.
inline constexpr std::uint64_t frame_size = 4 * KiB;

/// The guest address of a frame. The number is unsigned: 0x80000000 is 2^43, and not an address
/// near 2^64.
[[nodiscard]] constexpr guest_address frame_address(std::uint32_t number) noexcept {
  return guest_address{std::uint64_t{number} * frame_size};
}
[[nodiscard]] constexpr extent<guest_address> frame_extent(std::uint32_t number) noexcept {
  return {frame_address(number), frame_address(number) + (frame_size - 1)};
}

/// Frame numbers in host byte order.
class host_order_frames {
 public:
  /// Lends the numbers.
  constexpr explicit host_order_frames(std::span<std::uint32_t const> numbers) noexcept
      : numbers_{numbers} {}
  /// How many frames.
  [[nodiscard]] constexpr std::size_t size() const noexcept { return numbers_.size(); }
  [[nodiscard]] constexpr std::uint32_t operator[](std::size_t at) const noexcept {
    return numbers_[at];
  }

 private:
  std::span<std::uint32_t const> numbers_;
};

/// Frame numbers as virtio-balloon's queues carry them: 32 bits each, little-endian, at any
/// alignment. Up to 3 trailing bytes are ignored. The bytes are guest memory: each number is read
/// once, so that a guest that changes it concurrently cannot have one page checked and another
/// discarded.
class little_endian_frames {
 public:
  /// Lends the bytes, four for each number.
  constexpr explicit little_endian_frames(std::span<std::byte const> bytes) noexcept
      : bytes_{bytes} {}
  /// How many frames.
  [[nodiscard]] constexpr std::size_t size() const noexcept { return bytes_.size() / 4; }
  [[nodiscard]] constexpr std::uint32_t operator[](std::size_t at) const noexcept {
    std::uint32_t number = 0;
    for (std::size_t byte = 0; byte < 4; ++byte)
      number |= std::to_integer<std::uint32_t>(bytes_[4 * at + byte]) << (8 * byte);
    return number;
  }

 private:
  std::span<std::byte const> bytes_;
};

}  // namespace tether
