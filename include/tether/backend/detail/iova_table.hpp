// SPDX-License-Identifier: BSL-1.0
// What a container has mapped, for the backends that keep track of it themselves: a sorted table of
// disjoint mappings. First and last addresses are separate arrays, so a lookup reads only first
// addresses until it has found its row.
//
//     firsts_   0x0000  0x4000  0x9000  ...      searched, without a branch
//     lasts_    0x3fff  0x7fff  0x9fff  ...      then compared once
//     rows_     host, rights, memory, payload
#pragma once

#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <optional>
#include <vector>

namespace tether::detail {

/// Nothing beside the mapping itself.
struct no_payload {};

/// The rows [from, to) of a table.
struct table_run {
  std::size_t from{};
  std::size_t to{};
};

/// A sorted table of disjoint mappings, each with a `Payload` of the backend's choice.
/// Cost: `find` log N without a mispredicted branch and without allocation; `insert` and `erase`
/// move the rows behind.
template <class Payload = no_payload>
class iova_table {
 public:
  static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

  [[nodiscard]] std::size_t size() const noexcept { return firsts_.size(); }
  [[nodiscard]] bool empty() const noexcept { return firsts_.empty(); }

  [[nodiscard]] extent<io_address> where(std::size_t row) const noexcept {
    return {io_address{firsts_[row]}, io_address{lasts_[row]}};
  }
  [[nodiscard]] mapping operator[](std::size_t row) const noexcept {
    return {where(row), rows_[row].host, rows_[row].rights, rows_[row].memory};
  }
  [[nodiscard]] Payload const& payload(std::size_t row) const noexcept {
    return rows_[row].payload;
  }

  /// The row that maps `at`, or `none`.
  [[nodiscard]] std::size_t find(io_address at) const noexcept {
    const std::size_t row = at_or_before(at);
    return row != none && at.value <= lasts_[row] ? row : none;
  }

  /// The rows that cover all of `wanted`; nullopt if a byte is not mapped or it is no valid extent.
  [[nodiscard]] std::optional<table_run> covering(extent<io_address> wanted) const noexcept {
    const std::size_t from = find(wanted.first);
    if (from == none || !wanted.valid()) return std::nullopt;
    std::size_t row = from;
    while (lasts_[row] < wanted.last.value) {
      if (row + 1 == size() || !where(row).meets(where(row + 1))) return std::nullopt;
      ++row;
    }
    return table_run{from, row + 1};
  }

  /// The rows that make up exactly `wanted`. Fails: `invalid_extent`; `cuts_a_mapping` if an end
  /// lies inside a mapping (checked first, as type1v2 does), `not_mapped` if there is a hole.
  [[nodiscard]] result<table_run> whole(extent<io_address> wanted) const noexcept {
    if (!wanted.valid()) return failure(error{"unmap", errc::invalid_extent}.at(wanted));
    const std::size_t head = find(wanted.first);
    const std::size_t tail = find(wanted.last);
    if ((head != none && firsts_[head] != wanted.first.value) ||
        (tail != none && lasts_[tail] != wanted.last.value)) {
      return failure(
          error{"unmap", errc::cuts_a_mapping}.at(wanted).advise("unmap whole mappings only"));
    }
    if (const auto run = covering(wanted)) return *run;
    return failure(error{"unmap", errc::not_mapped}.at(wanted));
  }

  /// Whether something is mapped in `wanted`.
  [[nodiscard]] bool touches(extent<io_address> wanted) const noexcept {
    const std::size_t row = at_or_before(wanted.last);
    return row != none && lasts_[row] >= wanted.first.value && wanted.valid();
  }

  /// Inserts `what` and returns its row. Fails, changing nothing: `invalid_extent`, `overlaps`, not
  /// enough memory.
  result<std::size_t> insert(mapping const& what, Payload payload = {}) noexcept {
    if (!what.where.valid()) return failure(error{"map", errc::invalid_extent}.at(what.where));
    if (touches(what.where)) return failure(error{"map", errc::overlaps}.at(what.where));
    if (!make_room()) return failure(error::out_of_memory("map").at(what.where));
    const std::size_t before = at_or_before(what.where.first);
    const std::size_t row = before == none ? 0 : before + 1;
    const auto offset = static_cast<std::ptrdiff_t>(row);
    firsts_.insert(firsts_.begin() + offset, what.where.first.value);
    lasts_.insert(lasts_.begin() + offset, what.where.last.value);
    rows_.insert(rows_.begin() + offset, entry{what.host, what.rights, what.memory, payload});
    return row;
  }

  void clear() noexcept { erase({0, size()}); }
  /// Removes rows.
  void erase(table_run run) noexcept {
    const auto from = static_cast<std::ptrdiff_t>(run.from);
    const auto to = static_cast<std::ptrdiff_t>(run.to);
    firsts_.erase(firsts_.begin() + from, firsts_.begin() + to);
    lasts_.erase(lasts_.begin() + from, lasts_.begin() + to);
    rows_.erase(rows_.begin() + from, rows_.begin() + to);
  }

 private:
  struct entry {
    host_address host;
    access rights;
    memory_kind memory;
    [[no_unique_address]] Payload payload;
  };

  /// The last row that begins at or before `at`, or `none`.
  [[nodiscard]] std::size_t at_or_before(io_address at) const noexcept {
    std::size_t length = firsts_.size();
    if (length == 0 || at.value < firsts_[0]) return none;
    const std::uint64_t* base = firsts_.data();
    while (length > 1) {
      const std::size_t half = length / 2;
      std::size_t mask = std::size_t{0} - static_cast<std::size_t>(base[half] <= at.value);
      // Else clang turns the mask back into a branch, mispredicted half the time (49 ns against 8).
      asm("" : "+r"(mask));
      base += half & mask;
      length -= half;
    }
    return static_cast<std::size_t>(base - firsts_.data());
  }

  /// Grows all arrays before any of them changes, so that an insertion cannot fail half way.
  [[nodiscard]] bool make_room() noexcept {
    if (size() < std::min({firsts_.capacity(), lasts_.capacity(), rows_.capacity()})) return true;
    const std::size_t wanted = std::max<std::size_t>(16, 2 * size());
    try {
      firsts_.reserve(wanted);
      lasts_.reserve(wanted);
      rows_.reserve(wanted);
    } catch (std::bad_alloc const&) {
      return false;
    }
    return true;
  }

  std::vector<std::uint64_t> firsts_;
  std::vector<std::uint64_t> lasts_;
  std::vector<entry> rows_;
};

}  // namespace tether::detail
