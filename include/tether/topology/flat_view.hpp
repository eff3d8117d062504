// SPDX-License-Identifier: BSL-1.0
// An immutable snapshot of the guest's physical memory map: sections, sorted and disjoint. A commit
// makes another view by copy-on-write: it shares all groups of chunks except the one around the
// change, and of that one all chunks but one.
//
//     view 1   [ a b c ][ d e f ][ g h i ]       one changed section in 100,000: copies a chunk of
//                  |                 |           64, and the pointers to 32 chunks and 49 groups
//     view 2   [ a b c ][ d k f ][ g h i ]
#pragma once

#include <tether/topology/detail/chunk_group.hpp>
#include <tether/topology/detail/section_owner_pointer.hpp>
#include <tether/topology/section.hpp>

#include <tether/core/address.hpp>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <span>
#include <utility>

namespace tether {

/// An immutable map of the guest. It keeps the memory that it shows, and the names, alive.
class flat_view {
 public:
  /// A section's position. Requires: it is used with the view that it came from.
  struct position {
    std::size_t group = 0;  ///< the group's index
    std::size_t chunk = 0;  ///< the chunk's index in it
    std::size_t index = 0;  ///< the section's index in the chunk
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
  /// Requires: the groups ascend.
  explicit flat_view(detail::group_list groups) noexcept : groups_{std::move(groups)} {
    for (auto const& group : this->groups()) size_ += group->sections();
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

  /// The groups of chunks, which other views may share.
  [[nodiscard]] std::span<detail::group_pointer const> groups() const noexcept {
    return groups_.all();
  }
  /// The section at a position. Requires: not the end's.
  [[nodiscard]] section const& at(position where) const noexcept {
    return chunk_at(where).sections()[where.index];
  }
  /// What keeps that section's memory and name alive.
  [[nodiscard]] detail::section_owner_pointer const& owner_at(position where) const noexcept {
    return chunk_at(where).owners()[where.index];
  }
  /// The position behind the last section.
  [[nodiscard]] position end_position() const noexcept { return {groups().size(), 0, 0}; }
  /// The next position.
  [[nodiscard]] position after(position where) const noexcept {
    const auto chunks = groups()[where.group]->chunks();
    if (where.index + 1 < chunks[where.chunk]->size())
      return {where.group, where.chunk, where.index + 1};
    if (where.chunk + 1 < chunks.size()) return {where.group, where.chunk + 1, 0};
    return {where.group + 1, 0, 0};
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
    const auto all = groups();
    const std::size_t group = first_in(all, [&](detail::group_pointer const& one) {
      return holds(one->last_section());
    });
    if (group == all.size()) return end_position();
    const auto chunks = all[group]->chunks();
    const std::size_t chunk = first_in(chunks, [&](detail::chunk_pointer const& one) {
      return holds(one->sections().back());
    });
    return {group, chunk, first_in(chunks[chunk]->sections(), holds)};
  }
  template <class Element, class Predicate>
  [[nodiscard]] static std::size_t first_in(std::span<Element const> all,
                                            Predicate holds) noexcept {
    const auto found = std::partition_point(all.begin(), all.end(),
                                            [&](Element const& one) { return !holds(one); });
    return static_cast<std::size_t>(found - all.begin());
  }
  [[nodiscard]] detail::section_chunk const& chunk_at(position where) const noexcept {
    return *groups()[where.group]->chunks()[where.chunk];
  }

  detail::group_list groups_;
  std::size_t size_ = 0;
};

}  // namespace tether
