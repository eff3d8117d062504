// SPDX-License-Identifier: BSL-1.0
// A non-empty run of addresses, kept as its first and its *last* byte: so the whole 2^64 space is
// an extent like any other, and nothing wraps.
//
//     first            last
//       |################|        first + size would be one further, and may not exist
#pragma once

#include <tether/core/address.hpp>

#include <cstdint>
#include <limits>
#include <optional>  // and with it std::hash, which answers a std::size_t

namespace tether {

/// A closed interval of addresses. Invariant: `first <= last`; there is no empty extent. The two
/// ends may come from a guest or a user, so public functions that take an extent refuse one that is
/// not `valid`.
///
/// From an address and a length, as a queue's descriptor has them (virtio: le64 addr, le32 len), an
/// extent is made by `of`, which answers nothing for no bytes, and for a length that wraps:
///
///     auto range = tether::extent<tether::guest_address>::of(tether::guest_address{addr}, len);
///     if (range) ranges.push_back(*range);
///
/// Where a device must account for what wraps, too (page reporting counts it as `not_ram`), write
/// `{first, first + (len - 1)}` for every len but 0: it wraps as well, and is not `valid`. Mind the
/// `- 1`: `{first, first + len}` has a byte too many, and reports a page of somebody else's.
template <class Address>
struct extent {
  Address first{};  ///< its first byte
  Address last{};   ///< its last byte, not the one behind it

  friend constexpr bool operator==(extent const&, extent const&) noexcept = default;

  /// The extent of `size` bytes from `first`. Fails (nullopt): `size` is zero, or it would wrap
  /// past 2^64.
  [[nodiscard]] static constexpr std::optional<extent> of(Address first,
                                                          std::uint64_t size) noexcept {
    if (size == 0 || first.value > std::numeric_limits<std::uint64_t>::max() - (size - 1))
      return std::nullopt;
    return extent{first, first + (size - 1)};
  }

  /// All 2^64 bytes.
  [[nodiscard]] static constexpr extent everything() noexcept {
    return {Address{0}, Address{std::numeric_limits<std::uint64_t>::max()}};
  }

  /// Whether `first <= last`. False if made from an address and a length that wrap past 2^64.
  [[nodiscard]] constexpr bool valid() const noexcept { return first <= last; }

  /// Whether it is all 2^64 bytes, whose number does not fit.
  [[nodiscard]] constexpr bool is_everything() const noexcept { return *this == everything(); }

  /// Bytes. Requires: not `everything()`, whose size does not fit (it answers 0 then).
  [[nodiscard]] constexpr std::uint64_t size() const noexcept { return last - first + 1; }

  /// Whether it covers that byte.
  [[nodiscard]] constexpr bool contains(Address at) const noexcept {
    return first <= at && at <= last;
  }
  /// Whether it covers all of `inner`.
  [[nodiscard]] constexpr bool contains(extent inner) const noexcept {
    return first <= inner.first && inner.last <= last;
  }
  /// Whether both cover a byte.
  [[nodiscard]] constexpr bool overlaps(extent other) const noexcept {
    return first <= other.last && other.first <= last;
  }
  /// Whether `next` begins right after this one's last byte.
  [[nodiscard]] constexpr bool meets(extent next) const noexcept {
    return last < next.first && next.first - last == 1;
  }

  /// The bytes that both cover, or nullopt.
  [[nodiscard]] constexpr std::optional<extent> intersection(extent other) const noexcept {
    if (!overlaps(other)) return std::nullopt;
    return extent{first < other.first ? other.first : first, last < other.last ? last : other.last};
  }

  /// Whether both ends lie on multiples of `unit`. Requires: `unit` is a power of two.
  [[nodiscard]] constexpr bool aligned_to(std::uint64_t unit) const noexcept {
    return first.aligned_to(unit) && ((last.value + 1) & (unit - 1)) == 0;
  }

  /// The same bytes in another address space, in which `first` is at `elsewhere`.
  template <class Other>
  [[nodiscard]] constexpr extent<Other> moved_to(Other elsewhere) const noexcept {
    return {elsewhere, elsewhere + (last - first)};
  }
};

/// Writes an extent as errors do, "guest physical [0x1000, 0x1fff]": the first and the last byte.
template <template <class, class> class Stream, class Char, class Traits, class Address>
  requires requires(Stream<Char, Traits>& to) { to << ""; }
Stream<Char, Traits>& operator<<(Stream<Char, Traits>& to, extent<Address> where) {
  to << name_of(Address::lives_in) << " [0x" << detail::digits{where.first.value, 16}.first
     << ", 0x" << detail::digits{where.last.value, 16}.first << "]";
  return to;
}

}  // namespace tether

/// An address as a key of a `std::unordered_map`. Mixed: addresses are multiples of a page.
template <tether::space Space>
struct std::hash<tether::address<Space>> {
  /// Its hash.
  [[nodiscard]] constexpr std::size_t operator()(tether::address<Space> at) const noexcept {
    const std::uint64_t mixed = at.value * 0x9e37'79b9'7f4a'7c15U;
    return static_cast<std::size_t>(mixed ^ (mixed >> 32U));
  }
};
/// An extent as a key.
template <class Address>
struct std::hash<tether::extent<Address>> {
  /// Its hash.
  [[nodiscard]] constexpr std::size_t operator()(tether::extent<Address> where) const noexcept {
    const std::hash<Address> one;
    return one(where.first) ^ (one(where.last) * 3);
  }
};
