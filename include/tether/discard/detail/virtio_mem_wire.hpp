// SPDX-License-Identifier: BSL-1.0
// virtio-mem's requests, responses and configuration as they lie in guest memory: little-endian, at
// any alignment. Source: virtio 1.2, 5.15.4 and 5.15.6.
#pragma once

#include <tether/version.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace tether::detail {

/// Reads a little-endian number. Each byte is read once: the guest may change it meanwhile.
template <class Number>
[[nodiscard]] constexpr Number read_little_endian(std::span<std::byte const> from) noexcept {
  Number number = 0;
  for (std::size_t byte = 0; byte < sizeof(Number); ++byte)
    number = static_cast<Number>(
        number | static_cast<Number>(std::to_integer<Number>(from[byte]) << (8 * byte)));
  return number;
}
template <class Number>
constexpr void write_little_endian(std::span<std::byte> to, Number number) noexcept {
  for (std::size_t byte = 0; byte < sizeof(Number); ++byte)
    to[byte] = static_cast<std::byte>(number >> (8 * byte) & 0xff);
}

enum class virtio_mem_type : std::uint16_t { plug = 0, unplug = 1, unplug_all = 2, state = 3 };

/// le16 type, 6 bytes of padding, then le64 addr and le16 nb_blocks, and 6 bytes of padding.
struct virtio_mem_request {
  static constexpr std::size_t bytes = 24;

  std::uint16_t type;
  std::uint64_t first;
  std::uint16_t blocks;

  /// Requires: at least `bytes`.
  [[nodiscard]] static constexpr virtio_mem_request from(std::span<std::byte const> wire) noexcept {
    return {.type = read_little_endian<std::uint16_t>(wire),
            .first = read_little_endian<std::uint64_t>(wire.subspan(8)),
            .blocks = read_little_endian<std::uint16_t>(wire.subspan(16))};
  }
};

/// le16 type, 6 bytes of padding, le16 state.
inline constexpr std::size_t virtio_mem_response_bytes = 10;
/// The configuration: le64 block_size, le16 node_id, 6 bytes of padding, then le64 addr,
/// region_size, usable_region_size, plugged_size and requested_size.
inline constexpr std::size_t virtio_mem_config_bytes = 56;

}  // namespace tether::detail
