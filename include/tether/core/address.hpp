// SPDX-License-Identifier: BSL-1.0
// An address that knows which space it belongs to. A device's I/O virtual address, the guest's
// physical address and a host pointer are all 64 bits wide; mixing them up is the classic bug of
// this field, so each is a type of its own and only an explicit conversion crosses.
#pragma once

#include <tether/version.hpp>

#include <compare>
#include <cstdint>

namespace tether {

/// Byte counts, for sizes written by hand: `64 * KiB`.
inline constexpr std::uint64_t KiB = 1024;
inline constexpr std::uint64_t MiB = 1024 * KiB;
inline constexpr std::uint64_t GiB = 1024 * MiB;

/// The address spaces that an address can belong to.
enum class space : std::uint8_t { none, guest_physical, io_virtual, host_virtual, block };

/// The name of a space, for error sentences; empty for `none`.
[[nodiscard]] constexpr const char* name_of(space which) noexcept {
  switch (which) {
    case space::guest_physical: return "guest physical";
    case space::io_virtual: return "I/O virtual";
    case space::host_virtual: return "host virtual";
    case space::block: return "block offset";
    case space::none: break;
  }
  return "";
}

/// A byte address in one space. Units: bytes. Cost: that of a `std::uint64_t`.
/// Arithmetic is modulo 2^64 like the integer's; `extent` is where wrapping is refused.
/// Ordered, so it can be a key of `std::map`; `core/extent.hpp` has its `std::hash`.
template <space Space>
struct address {
  static constexpr space lives_in = Space;  ///< the space of every such address

  std::uint64_t value{};  ///< bytes

  constexpr address() noexcept = default;
  /// The address `bytes` from the beginning of its space.
  constexpr explicit address(std::uint64_t bytes) noexcept : value{bytes} {}

  friend constexpr auto operator<=>(address, address) noexcept = default;

  /// So many bytes further.
  [[nodiscard]] friend constexpr address operator+(address at, std::uint64_t bytes) noexcept {
    return address{at.value + bytes};
  }
  /// So many bytes before.
  [[nodiscard]] friend constexpr address operator-(address at, std::uint64_t bytes) noexcept {
    return address{at.value - bytes};
  }
  /// The distance in bytes from `from` to `to`. Requires: `from <= to`.
  [[nodiscard]] friend constexpr std::uint64_t operator-(address to, address from) noexcept {
    return to.value - from.value;
  }

  /// Whether this is a multiple of `unit` bytes. Requires: `unit` is a power of two.
  [[nodiscard]] constexpr bool aligned_to(std::uint64_t unit) const noexcept {
    return (value & (unit - 1)) == 0;
  }
};

namespace detail {

/// A number in digits, without allocating, and whatever base a stream is set to.
struct digits {
  char text[24]{};
  const char* first = text + 23;

  constexpr digits(std::uint64_t number, std::uint64_t base) noexcept {
    char* at = text + 23;
    do *--at = "0123456789abcdef"[number % base];
    while ((number /= base) != 0);
    first = at;
  }
  digits(digits const&) = delete;
  digits& operator=(digits const&) = delete;
};

}  // namespace detail

/// Writes an address as errors do, "guest physical 0x1000", to a stream of the standard library,
/// whose header is the caller's to include.
template <template <class, class> class Stream, class Char, class Traits, space Space>
  requires requires(Stream<Char, Traits>& to) { to << ""; }
Stream<Char, Traits>& operator<<(Stream<Char, Traits>& to, address<Space> at) {
  to << name_of(Space) << " 0x" << detail::digits{at.value, 16}.first;
  return to;
}

/// A guest physical address (GPA): where the guest's CPU sees a byte of memory.
using guest_address = address<space::guest_physical>;
/// An I/O virtual address (IOVA): where a device sees that byte, through the IOMMU.
using io_address = address<space::io_virtual>;
/// A host virtual address (HVA): where this process sees that byte.
using host_address = address<space::host_virtual>;
/// The offset of a byte in its RAM block, from the block's first byte.
using block_offset = address<space::block>;

}  // namespace tether
