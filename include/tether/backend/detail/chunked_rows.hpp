// SPDX-License-Identifier: BSL-1.0
// The rows of an interval table, sorted by address, in chunks of at most 64: a row that comes or
// goes moves the rows of its chunk alone, wherever it is and in whatever order rows come and go.
//
//     heads_    0x0000      0x8000      ...     the first address of each chunk, searched first
//     chunks_   [ 41 rows ] [ 64 rows ] ...     firsts, lasts and entries, each an array
//     spares_   chunks without rows: taken before a chunk is split, returned when two are joined
#pragma once

#include <tether/backend/detail/branchless_search.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/extent.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace tether::detail {

/// The rows from `from` to before `to`. Between them `next` leads from row to row.
struct table_run {
  std::size_t from{};
  std::size_t to{};
};

/// Sorted rows, each an extent with an `Entry`. A row is named by a number that grows with its
/// address and holds until the next insertion or removal.
/// Cost: `at_or_before` log N without a mispredicted branch and without allocation. `insert` and
/// `erase` move at most a few chunks' rows, once amortised; one in 64 moves the list of chunks.
/// Ensures: as many rows as there ever were can be inserted without allocating, in any order.
template <class Entry>
class chunked_rows {
 public:
  static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t chunk_rows = 64;

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] table_run all() const noexcept { return {0, chunks_.size() * chunk_rows}; }
  /// The row behind `row`, or the end of `all()`.
  [[nodiscard]] std::size_t next(std::size_t row) const noexcept {
    return row % chunk_rows + 1 < of(row).count ? row + 1 : (row / chunk_rows + 1) * chunk_rows;
  }

  [[nodiscard]] std::uint64_t first(std::size_t row) const noexcept {
    return of(row).firsts[row % chunk_rows];
  }
  [[nodiscard]] std::uint64_t last(std::size_t row) const noexcept {
    return of(row).lasts[row % chunk_rows];
  }
  [[nodiscard]] Entry const& entry(std::size_t row) const noexcept {
    return of(row).entries[row % chunk_rows];
  }

  /// The last row that begins at or before `at`, or `none`.
  [[nodiscard]] std::size_t at_or_before(std::uint64_t at) const noexcept {
    if (heads_.empty() || at < heads_[0]) return none;
    const bool lone = heads_.size() == 1;  // then its rows are searched at once, as few as they are
    std::uint64_t const* const addresses = lone ? chunks_[0]->firsts.data() : heads_.data();
    const std::size_t which = last_not_above(addresses, lone ? size_ : heads_.size(), at);
    if (lone) return which;
    chunk const& found = *chunks_[which];
    if (heads_.size() >= 256) found.prefetch(std::make_index_sequence<chunk_rows / 8>{});
    // All of the array is searched, whatever it holds, so that the number of steps is a constant.
    std::uint64_t const* const firsts = found.firsts.data();
    auto within = static_cast<std::size_t>(narrowed<chunk_rows / 2>(firsts, at) - firsts);
    // Only the last address is not below what is behind the last row.
    if (at == chunk::unused) within = std::min(within, found.count - 1);
    return which * chunk_rows + within;
  }

  /// Inserts a row and returns it; `none`, changing nothing: not enough memory. Requires: `where`
  /// is valid and meets no row; all rows are of one address space.
  template <class Address>
  std::size_t insert(extent<Address> where, Entry entry) noexcept {
    while (pool() * chunk_rows / 4 * 3 <= size_) {
      if (!add_spare()) return none;
    }
    std::size_t row = place_for(where.first.value);
    if (row == none) {
      spread();
      row = place_for(where.first.value);
    }
    const std::size_t which = row / chunk_rows;
    chunks_[which]->insert(row % chunk_rows, where.first.value, where.last.value, std::move(entry));
    heads_[which] = chunks_[which]->firsts[0];
    ++size_;
    return row;
  }

  /// Removes rows.
  void erase(table_run run) noexcept {
    if (run.from == run.to) return;
    const std::size_t from = run.from / chunk_rows;
    const std::size_t to = run.to / chunk_rows;
    const std::size_t before = run.from % chunk_rows;
    if (from == to) {
      size_ -= chunks_[from]->erase(before, run.to % chunk_rows);
      heads_[from] = chunks_[from]->firsts[0];
    } else {
      size_ -= chunks_[from]->erase(before, chunks_[from]->count);
      for (std::size_t which = from + 1; which < to; ++which) {
        size_ -= chunks_[which]->erase(0, chunks_[which]->count);
      }
      if (run.to % chunk_rows != 0) {
        size_ -= chunks_[to]->erase(0, run.to % chunk_rows);
        heads_[to] = chunks_[to]->firsts[0];
      }
      retire(from + (before != 0 ? 1 : 0), to);
    }
    join(from + 1);
    join(from);
    if (from != 0) join(from - 1);
  }

 private:
  struct chunk {
    chunk() noexcept { firsts.fill(unused); }

    void insert(std::size_t at, std::uint64_t first, std::uint64_t last, Entry entry) noexcept {
      const auto shift = [&](auto& column) noexcept {
        std::move_backward(column.begin() + at, column.begin() + count, column.begin() + count + 1);
      };
      shift(firsts);
      shift(lasts);
      shift(entries);
      firsts[at] = first;
      lasts[at] = last;
      entries[at] = std::move(entry);
      ++count;
    }
    /// Returns how many it removed.
    std::size_t erase(std::size_t from, std::size_t to) noexcept {
      const auto shift = [&](auto& column) noexcept {
        std::move(column.begin() + to, column.begin() + count, column.begin() + from);
      };
      shift(firsts);
      shift(lasts);
      shift(entries);
      std::fill(firsts.begin() + (count - (to - from)), firsts.begin() + count, unused);
      count -= to - from;
      return to - from;
    }
    /// Moves row `from` of `other` to row `to` of this one. Neither `count` changes.
    void take(std::size_t to, chunk& other, std::size_t from) noexcept {
      firsts[to] = std::exchange(other.firsts[from], unused);
      lasts[to] = other.lasts[from];
      entries[to] = std::move(other.entries[from]);
    }
    /// Moves the rows of `other` from `from` on to the end of this one.
    void append(chunk& other, std::size_t from) noexcept {
      for (std::size_t at = from; at != other.count; ++at) take(count++, other, at);
      other.count = from;
    }

    /// Half a megabyte of rows is in no cache near by: their lines come at once, not one by one.
    template <std::size_t... Line>
    void prefetch(std::index_sequence<Line...>) const noexcept {
      (__builtin_prefetch(&firsts[8 * Line]), ...);
    }

    /// What is behind the last row: never below an address, so the array stays sorted.
    static constexpr std::uint64_t unused = std::numeric_limits<std::uint64_t>::max();
    std::array<std::uint64_t, chunk_rows> firsts;
    std::array<std::uint64_t, chunk_rows> lasts{};
    std::array<Entry, chunk_rows> entries{};
    std::size_t count = 0;
  };

  [[nodiscard]] chunk const& of(std::size_t row) const noexcept {
    return *chunks_[row / chunk_rows];
  }
  [[nodiscard]] std::size_t pool() const noexcept { return chunks_.size() + spares_.size(); }

  /// Where a row that begins at `first` belongs, with room for it; `none` if that takes a spare
  /// chunk and there is none.
  [[nodiscard]] std::size_t place_for(std::uint64_t first) noexcept {
    const std::size_t before = at_or_before(first);
    const std::size_t at = before == none ? 0 : before + 1;
    const std::size_t which = before == none ? 0 : before / chunk_rows;
    if (!chunks_.empty() && chunks_[which]->count != chunk_rows) return at;
    // A chunk that is full. At its end the next one may have room; only inside it is it split.
    const bool behind = at == (which + 1) * chunk_rows;
    if (behind && which + 1 != chunks_.size() && chunks_[which + 1]->count != chunk_rows) return at;
    if (spares_.empty()) return none;
    if (behind || at == 0) {
      use_spare(at / chunk_rows);
      return at;
    }
    constexpr std::size_t half = chunk_rows / 2;
    use_spare(which + 1);
    chunks_[which + 1]->append(*chunks_[which], half);
    heads_[which + 1] = chunks_[which + 1]->firsts[0];
    return at % chunk_rows <= half ? at : at + half;
  }
  void use_spare(std::size_t which) noexcept {
    const auto offset = static_cast<std::ptrdiff_t>(which);
    heads_.insert(heads_.begin() + offset, chunk::unused);
    chunks_.insert(chunks_.begin() + offset, std::move(spares_.back()));
    spares_.pop_back();
  }
  /// Makes the chunks [from, to) spares. Requires: they have no rows.
  void retire(std::size_t from, std::size_t to) noexcept {
    const auto begin = static_cast<std::ptrdiff_t>(from);
    const auto end = static_cast<std::ptrdiff_t>(to);
    std::move(chunks_.begin() + begin, chunks_.begin() + end, std::back_inserter(spares_));
    chunks_.erase(chunks_.begin() + begin, chunks_.begin() + end);
    heads_.erase(heads_.begin() + begin, heads_.begin() + end);
  }
  /// Joins a chunk with the next one if half a chunk can hold both.
  void join(std::size_t which) noexcept {
    if (which + 1 >= chunks_.size()) return;
    if (chunks_[which]->count + chunks_[which + 1]->count > chunk_rows / 2) return;
    chunks_[which]->append(*chunks_[which + 1], 0);
    retire(which + 1, which + 2);
  }

  /// Spreads all rows evenly, 56 in a chunk, so that each has room. At most 3 rows in 4 of the pool
  /// are used, and a chunk has to take 8 more rows before it is split again.
  void spread() noexcept {
    std::size_t dense = 0;
    for (auto const& from : chunks_) {
      const std::size_t count = std::exchange(from->count, 0);
      for (std::size_t at = 0; at != count; ++at, ++dense) {
        chunk& to = *chunks_[dense / chunk_rows];
        if (&to != from.get() || at != dense % chunk_rows) to.take(dense % chunk_rows, *from, at);
      }
    }
    constexpr std::size_t each = chunk_rows / 8 * 7;
    const std::size_t used = (size_ + each - 1) / each;
    if (used < chunks_.size()) retire(used, chunks_.size());
    while (chunks_.size() < used) use_spare(chunks_.size());
    for (std::size_t at = size_; at-- != 0;) {
      chunk& to = *chunks_[at / each];
      chunk& from = *chunks_[at / chunk_rows];
      if (at >= each) to.take(at % each, from, at % chunk_rows);
      ++to.count;
    }
    for (std::size_t which = 0; which != used; ++which) heads_[which] = chunks_[which]->firsts[0];
  }

  /// Allocates one more chunk, and the room to list it. Fails (false): not enough memory.
  [[nodiscard]] bool add_spare() noexcept {
    TETHER_TRY {
      if (const std::size_t wanted = pool() + 1; wanted > spares_.capacity()) {
        heads_.reserve(2 * wanted);
        chunks_.reserve(2 * wanted);
        spares_.reserve(2 * wanted);
      }
      spares_.push_back(std::make_unique<chunk>());
    }
    TETHER_CATCH(std::bad_alloc const&) { return false; }
    return true;
  }

  std::vector<std::uint64_t> heads_;
  std::vector<std::unique_ptr<chunk>> chunks_;
  std::vector<std::unique_ptr<chunk>> spares_;
  std::size_t size_ = 0;
};

}  // namespace tether::detail
