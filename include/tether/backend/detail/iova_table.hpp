// SPDX-License-Identifier: BSL-1.0
// What a container has mapped, for the backends that keep track of it themselves: a sorted table of
// disjoint mappings. First and last addresses are separate arrays, so a lookup reads only first
// addresses until it has found its row. How rows come and go is `chunked_rows`.
#pragma once

#include <tether/backend/detail/chunked_rows.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>

#include <cstddef>
#include <optional>
#include <utility>

namespace tether::detail {

/// Nothing beside the mapping itself.
struct no_payload {};

/// A sorted table of disjoint mappings, each with a `Payload` of the backend's choice. A row's
/// number holds until the next insertion or removal.
/// Cost: `find` log N without a mispredicted branch and without allocation; `insert` and `erase`
/// move a chunk's rows at most, however many there are and in whatever order they come and go.
template <class Payload = no_payload>
class iova_table {
  struct entry {
    host_address host{};
    access rights{};
    memory_kind memory{};
    [[no_unique_address]] Payload payload{};
  };

 public:
  static constexpr std::size_t none = chunked_rows<entry>::none;

  [[nodiscard]] std::size_t size() const noexcept { return rows_.size(); }
  [[nodiscard]] bool empty() const noexcept { return rows_.size() == 0; }
  /// Every row.
  [[nodiscard]] table_run all() const noexcept { return rows_.all(); }
  /// The row behind `row`. Of a run's last row: the end of the run.
  [[nodiscard]] std::size_t next(std::size_t row) const noexcept { return rows_.next(row); }
  /// `row` alone.
  [[nodiscard]] table_run only(std::size_t row) const noexcept { return {row, next(row)}; }

  [[nodiscard]] extent<io_address> where(std::size_t row) const noexcept {
    return {io_address{rows_.first(row)}, io_address{rows_.last(row)}};
  }
  [[nodiscard]] mapping operator[](std::size_t row) const noexcept {
    entry const& found = rows_.entry(row);
    return {where(row), found.host, found.rights, found.memory};
  }
  [[nodiscard]] Payload const& payload(std::size_t row) const noexcept {
    return rows_.entry(row).payload;
  }

  /// The row that maps `at`, or `none`.
  [[nodiscard]] std::size_t find(io_address at) const noexcept {
    const std::size_t row = rows_.at_or_before(at.value);
    return row != none && at.value <= rows_.last(row) ? row : none;
  }

  /// The rows that cover all of `wanted`; nullopt if a byte is not mapped or it is no valid extent.
  [[nodiscard]] std::optional<table_run> covering(extent<io_address> wanted) const noexcept {
    const std::size_t from = find(wanted.first);
    if (from == none || !wanted.valid()) return std::nullopt;
    std::size_t row = from;
    while (rows_.last(row) < wanted.last.value) {
      const std::size_t behind = next(row);
      if (behind == all().to || !where(row).meets(where(behind))) return std::nullopt;
      row = behind;
    }
    return table_run{from, next(row)};
  }

  /// The rows that make up exactly `wanted`. Fails: `invalid_extent`; `cuts_a_mapping` if an end
  /// lies inside a mapping (checked first, as type1v2 does), `not_mapped` if there is a hole.
  [[nodiscard]] result<table_run> whole(extent<io_address> wanted) const noexcept {
    if (!wanted.valid()) return failure(error{"unmap", errc::invalid_extent}.at(wanted));
    const std::size_t head = find(wanted.first);
    const std::size_t tail = find(wanted.last);
    if ((head != none && rows_.first(head) != wanted.first.value) ||
        (tail != none && rows_.last(tail) != wanted.last.value)) {
      return failure(
          error{"unmap", errc::cuts_a_mapping}.at(wanted).advise("unmap whole mappings only"));
    }
    if (const auto run = covering(wanted)) return *run;
    return failure(error{"unmap", errc::not_mapped}.at(wanted));
  }

  /// Whether something is mapped in `wanted`.
  [[nodiscard]] bool touches(extent<io_address> wanted) const noexcept {
    const std::size_t row = rows_.at_or_before(wanted.last.value);
    return row != none && rows_.last(row) >= wanted.first.value && wanted.valid();
  }

  /// Inserts `what` and returns its row. Fails, changing nothing: `invalid_extent`, `overlaps`, not
  /// enough memory.
  result<std::size_t> insert(mapping const& what, Payload payload = {}) noexcept {
    if (!what.where.valid()) return failure(error{"map", errc::invalid_extent}.at(what.where));
    if (touches(what.where)) return failure(error{"map", errc::overlaps}.at(what.where));
    const std::size_t row =
        rows_.insert(what.where, {what.host, what.rights, what.memory, std::move(payload)});
    if (row == none) return failure(error::out_of_memory("map").at(what.where));
    return row;
  }

  void clear() noexcept { erase(all()); }
  /// Removes rows.
  void erase(table_run run) noexcept { rows_.erase(run); }

 private:
  chunked_rows<entry> rows_;
};

}  // namespace tether::detail
