// SPDX-License-Identifier: BSL-1.0
// The buffers of `mapped_buffers` in a table of blocks, in two levels: an address is found by two
// loads, however many buffers there are, as in SPDK's memory map.
//
//     tables_   [ GiB 508 ] [ GiB 509 ] [  -  ] [ GiB 511 ]      of the host addresses in use
//                    |
//     entries   [ 0 ][ distance, 3 ][ distance, 2 ][ distance, 1 ][ distance, 1 ][ 0 ] ...
//                    |--------- a buffer of 3 blocks -----------||--- another ---|
//
// A distance is from the host address to the I/O address. What is added to it is how many blocks
// the buffer has from here on: one entry tells where it is, and whether it is long enough.
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/core/address.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/extent.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

namespace tether {

/// Buffers in blocks of `Size` bytes, on which they must begin and end: `direct_lookup<2 * MiB>`
/// for what lies in huge pages. For a driver that translates at every request; `sorted_lookup`
/// takes any page, and little memory.
/// Requires: `Size` is a power of two from 4 KiB to 1 GiB, or it is no lookup (tether[B11]); I/O
/// addresses are multiples of 4 KiB, which `mapped_buffers` sees to.
/// Cost: `find` two loads, and one more for each 4,095 blocks that its bytes reach over; `insert`,
/// `erase` and `first_in` a step for each block. Memory: 8 bytes for each block of every GiB of
/// host addresses in which a buffer ever lay (4 KiB a GiB with blocks of 2 MiB, 2 MiB a GiB with
/// blocks of 4 KiB), and up to 16 bytes for each GiB from the lowest of them to the highest. It is
/// kept until the end, so that a buffer in the same place again needs no allocation.
template <std::uint64_t Size>
class direct_lookup {
 public:
  /// Bytes. 0, which no lookup may have, where `Size` cannot be one.
  static constexpr std::uint64_t block_size =
      Size >= 4 * KiB && Size <= GiB && std::has_single_bit(Size) ? Size : 0;

  direct_lookup() noexcept = default;
  direct_lookup(direct_lookup&& other) noexcept { swap(other); }  ///< leaves an empty one
  direct_lookup& operator=(direct_lookup&& other) noexcept {      ///< exchanges both
    swap(other);
    return *this;
  }

  /// Fails (false), changing nothing: not enough memory, also for addresses from 2^57 on, which no
  /// process has.
  [[nodiscard]] bool insert(buffer_place const& buffer) noexcept {
    const std::uint64_t from = buffer.host.first.value / Size;
    const std::uint64_t last = buffer.host.last.value / Size;
    if (!make_room(from / of_a_table, last / of_a_table)) return false;
    const std::uint64_t distance = buffer.first.value - buffer.host.first.value;
    for (std::uint64_t at = from; at <= last; ++at)
      slot(at) = distance + std::min(last - at + 1, longest);
    ++size_;
    return true;
  }
  /// Requires: it was inserted.
  void erase(buffer_place const& buffer) noexcept {
    for (std::uint64_t at = buffer.host.first.value / Size; at <= buffer.host.last.value / Size;
         ++at)
      slot(at) = 0;
    --size_;
  }
  /// The lowest buffer of which a byte lies there.
  [[nodiscard]] std::optional<buffer_place> first_in(extent<host_address> where) const noexcept {
    const std::uint64_t end = std::min((lowest_ + count_) * of_a_table,
                                       where.last.value / Size + 1);
    std::uint64_t at = std::max(where.first.value / Size, lowest_ * of_a_table);
    while (at < end) {
      table const* const here = tables_[at / of_a_table - lowest_].get();
      if (here == nullptr) at = (at / of_a_table + 1) * of_a_table;
      else if ((*here)[at % of_a_table] == 0) ++at;
      else return buffer_with(at);
    }
    return {};
  }
  /// Whether `bytes` bytes from `host` on lie in one buffer, and where devices see them. (Of an
  /// optional g++ 12 would keep a copy in memory.)
  [[nodiscard]] bool find(host_address host, std::uint64_t bytes,
                          io_address& found) const noexcept {
    const std::uint64_t here = entry(host.value / Size);
    const std::uint64_t blocks = here % unit;
    if (blocks == 0) [[unlikely]]
      return false;
    if (bytes - 1 >= blocks * Size - host.value % Size && !reaches(host, bytes)) [[unlikely]]
      return false;
    found = io_address{host.value + (here - blocks)};
    return true;
  }
  /// Buffers.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  /// What distances are multiples of, so that a number of blocks can be added.
  static constexpr std::uint64_t unit = 4 * KiB;
  /// A buffer that has more blocks says so in this many of them.
  static constexpr std::uint64_t longest = unit - 1;
  static constexpr std::uint64_t of_a_table = GiB / Size;
  static constexpr std::uint64_t highest_table = (std::uint64_t{1} << 57U) / GiB - 1;
  using table = std::array<std::uint64_t, of_a_table>;

  /// Of a block: 0 if no buffer has it.
  [[nodiscard]] std::uint64_t entry(std::uint64_t block) const noexcept {
    const std::uint64_t which = block / of_a_table - lowest_;
    if (which >= count_ || tables_[which] == nullptr) [[unlikely]]
      return 0;
    return (*tables_[which])[block % of_a_table];
  }
  [[nodiscard]] std::uint64_t& slot(std::uint64_t block) noexcept {
    return (*tables_[block / of_a_table - lowest_])[block % of_a_table];
  }

  /// The last block of the buffer that has the block `at`.
  [[nodiscard]] std::uint64_t last_with(std::uint64_t at) const noexcept {
    std::uint64_t blocks = entry(at) % unit;
    while (blocks == longest) {
      at += longest - 1;
      blocks = entry(at) % unit;
    }
    return at + blocks - 1;
  }
  /// Whether the buffer at `host` has so many bytes from there on. Requires: there is one.
  [[nodiscard, gnu::cold, gnu::noinline]] bool reaches(host_address host,
                                                       std::uint64_t bytes) const noexcept {
    const auto all = extent<host_address>::of(host, bytes);
    return all && all->last.value / Size <= last_with(host.value / Size);
  }
  [[nodiscard]] buffer_place buffer_with(std::uint64_t at) const noexcept {
    const std::uint64_t last = last_with(at);
    // The block before is the same buffer's if it counts more than itself.
    while (at != 0 && entry(at - 1) % unit > 1) --at;
    const std::uint64_t found = entry(at);
    const std::uint64_t first = at * Size;
    return {{host_address{first}, host_address{last * Size + (Size - 1)}},
            io_address{first + (found - found % unit)}};
  }

  /// Tables for these GiB, and the room to list them.
  [[nodiscard]] bool make_room(std::uint64_t first, std::uint64_t last) noexcept {
    if (last > highest_table) return false;
    TETHER_TRY {
      if (first < lowest_ || last - lowest_ >= count_) list_up_to(first, last);
      for (std::uint64_t which = first - lowest_; which <= last - lowest_; ++which) {
        if (tables_[which] == nullptr) tables_[which] = std::make_unique<table>();
      }
    }
    TETHER_CATCH(std::exception const&) { return false; }
    return true;
  }
  /// Lists these GiB, too: at least twice as many, on the side on which they lie.
  void list_up_to(std::uint64_t first, std::uint64_t last) {
    std::uint64_t low = first;
    std::uint64_t high = last;
    if (count_ != 0) {
      const std::uint64_t doubled = 2 * count_ - 1;
      low = std::min(first, lowest_);
      high = std::max(last, lowest_ + count_ - 1);
      if (first >= lowest_) high = std::max(high, low + doubled);
      else low = std::min(low, high > doubled ? high - doubled : 0);
    }
    auto wider = std::make_unique<std::unique_ptr<table>[]>(high - low + 1);
    for (std::uint64_t which = 0; which != count_; ++which)
      wider[lowest_ - low + which] = std::move(tables_[which]);
    tables_ = std::move(wider);
    count_ = high - low + 1;
    lowest_ = low;
  }
  void swap(direct_lookup& other) noexcept {
    std::swap(tables_, other.tables_);
    std::swap(count_, other.count_);
    std::swap(lowest_, other.lowest_);
    std::swap(size_, other.size_);
  }

  std::unique_ptr<std::unique_ptr<table>[]> tables_;  // of each GiB, empty ones where nothing was
  std::uint64_t count_ = 0;
  std::uint64_t lowest_ = 0;  // the GiB of the first
  std::size_t size_ = 0;
};

static_assert(buffer_lookup<direct_lookup<2 * MiB>>);

}  // namespace tether
