// SPDX-License-Identifier: BSL-1.0
// An immutable snapshot of the guest's physical memory map: sections, sorted and disjoint. A commit
// makes another view by copy-on-write: it shares all chunks except those around the change.
//
//     view 1   [chunk a][chunk b][chunk c]       one changed section in 100,000
//                  |                 |           copies some 128 of them
//     view 2   [chunk a][chunk d][chunk c]
#pragma once

#include <tether/topology/detail/section_chunk.hpp>
#include <tether/topology/detail/section_owner_pointer.hpp>
#include <tether/topology/section.hpp>

#include <tether/core/address.hpp>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

namespace tether {

namespace detail {

using chunk_pointer = std::shared_ptr<section_chunk const>;

/// Sections in a full chunk: a commit copies about as many for each change, and one pointer for
/// each other chunk, which is cheaper than twice as many up to 30,000 sections.
inline constexpr std::size_t chunk_capacity = 128;

}  // namespace detail

/// An immutable map of the guest. It keeps the memory that it shows, and the names, alive.
class flat_view {
 public:
  /// A section's position. Requires: it is used with the view that it came from.
  struct position {
    std::size_t chunk = 0;  ///< the chunk's index
    std::size_t index = 0;  ///< the section's index in it
    friend constexpr bool operator==(position, position) noexcept = default;
  };

  /// Goes through the sections, ascending.
  class iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = section;
    using difference_type = std::ptrdiff_t;
    using pointer = section const*;
    using reference = section const&;

    iterator() noexcept = default;
    [[nodiscard]] reference operator*() const noexcept { return view_->at(at_); }
    [[nodiscard]] pointer operator->() const noexcept { return &view_->at(at_); }
    iterator& operator++() noexcept {
      at_ = view_->after(at_);
      return *this;
    }
    iterator operator++(int) noexcept {
      const iterator before = *this;
      ++*this;
      return before;
    }
    friend bool operator==(iterator const& a, iterator const& b) noexcept { return a.at_ == b.at_; }

   private:
    friend class flat_view;
    iterator(flat_view const& view, position at) noexcept : view_{&view}, at_{at} {}
    flat_view const* view_ = nullptr;
    position at_{};
  };

  flat_view() noexcept = default;
  /// Requires: the chunks are not empty, and ascend.
  explicit flat_view(std::vector<detail::chunk_pointer> chunks) noexcept
      : chunks_{std::move(chunks)} {
    for (auto const& chunk : chunks_) size_ += chunk->size();
  }

  [[nodiscard]] iterator begin() const noexcept { return {*this, {}}; }
  [[nodiscard]] iterator end() const noexcept { return {*this, end_position()}; }
  /// All sections, ascending.
  [[nodiscard]] flat_view const& sections() const noexcept { return *this; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

  /// The section that `where` lies in, or null. Cost: logarithmic.
  [[nodiscard]] section const* find(guest_address where) const noexcept {
    const position candidate = first_ending_at_or_after(where);
    if (candidate == end_position() || at(candidate).where.first > where) return nullptr;
    return &at(candidate);
  }

  /// The chunks, which other views may share.
  [[nodiscard]] std::vector<detail::chunk_pointer> const& chunks() const noexcept {
    return chunks_;
  }
  /// The section at a position. Requires: not the end's.
  [[nodiscard]] section const& at(position where) const noexcept {
    return chunks_[where.chunk]->sections()[where.index];
  }
  /// What keeps that section's memory and name alive.
  [[nodiscard]] detail::section_owner_pointer const& owner_at(position where) const noexcept {
    return chunks_[where.chunk]->owners()[where.index];
  }
  /// The position behind the last section.
  [[nodiscard]] position end_position() const noexcept { return {chunks_.size(), 0}; }
  /// The next position.
  [[nodiscard]] position after(position where) const noexcept {
    return where.index + 1 < chunks_[where.chunk]->size() ? position{where.chunk, where.index + 1}
                                                          : position{where.chunk + 1, 0};
  }
  /// The first section whose last byte is at or behind `where`.
  [[nodiscard]] position first_ending_at_or_after(guest_address where) const noexcept {
    return first_that([where](section const& one) { return one.where.last >= where; });
  }
  /// The first section that begins behind `where`.
  [[nodiscard]] position first_beginning_after(guest_address where) const noexcept {
    return first_that([where](section const& one) { return one.where.first > where; });
  }

 private:
  /// Requires: `holds`, once true for a section, is true for all behind it.
  template <class Predicate>
  [[nodiscard]] position first_that(Predicate holds) const noexcept {
    const auto chunk = std::partition_point(
        chunks_.begin(), chunks_.end(),
        [&](detail::chunk_pointer const& one) { return !holds(one->sections().back()); });
    if (chunk == chunks_.end()) return end_position();
    const auto sections = (*chunk)->sections();
    const auto found = std::partition_point(sections.begin(), sections.end(),
                                            [&](section const& one) { return !holds(one); });
    return {static_cast<std::size_t>(chunk - chunks_.begin()),
            static_cast<std::size_t>(found - sections.begin())};
  }

  std::vector<detail::chunk_pointer> chunks_;
  std::size_t size_ = 0;
};

}  // namespace tether
