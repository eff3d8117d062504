// SPDX-License-Identifier: BSL-1.0
// What takes a listener from one view to another: all removals, then all additions (law 8). Groups
// and chunks that both views have are skipped, so the cost is that of the change.
#pragma once

#include <tether/topology/flat_view.hpp>
#include <tether/topology/section.hpp>

#include <tether/core/address.hpp>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace tether::detail {

/// Both ascend. A section whose memory, place or rights changed is in both; an unchanged one is in
/// neither. Their names live as long as the views that it was made from.
struct difference {
  std::vector<section> removals;
  std::vector<section> additions;

  [[nodiscard]] bool empty() const noexcept { return removals.empty() && additions.empty(); }

  /// Cost: two plain pointers and a comparison for each section that is in no shared chunk.
  /// Fails: throws `std::bad_alloc`.
  [[nodiscard]] static difference between(flat_view const& before, flat_view const& after) {
    difference change;
    change.add(before, after);
    return change;
  }
  /// As `between`, into vectors that have memory already. Requires: empty.
  void add(flat_view const& before, flat_view const& after) {
    reader old{before};
    reader now{after};
    while (!old.done() && !now.done()) {
      if (old.shares_group_with(now)) {
        old.next_group();
        now.next_group();
      } else if (old.shares_chunk_with(now)) {
        old.next_chunk();
        now.next_chunk();
      } else if (const std::size_t same = old.same_as(now); same != 0) {
        old.advance(same);
        now.advance(same);
      } else {
        // Take the section that begins first, or both if they begin together.
        const auto removed = old.first();
        const auto added = now.first();
        if (removed <= added) old.move_to(removals);
        if (added <= removed) now.move_to(additions);
      }
    }
    old.move_rest_to(removals);
    now.move_rest_to(additions);
  }

 private:
  /// A position in a view: what is left of a chunk, as two pointers, which the compiler keeps in
  /// registers.
  class reader {
   public:
    explicit reader(flat_view const& view) noexcept
        : group_{view.groups().data()}, last_group_{group_ + view.groups().size()} {
      enter_group();
    }

    [[nodiscard]] bool done() const noexcept { return group_ == last_group_; }
    [[nodiscard]] guest_address first() const noexcept { return at_->where.first; }
    /// Whether both are at the beginning of one group that both views have.
    [[nodiscard]] bool shares_group_with(reader const& other) const noexcept {
      return *group_ == *other.group_ && at_ == other.at_ && chunk_ == other.chunk_ &&
             chunk_ == (*group_)->chunks().data();
    }
    /// Whether both are at the beginning of one chunk that both views have.
    [[nodiscard]] bool shares_chunk_with(reader const& other) const noexcept {
      return *chunk_ == *other.chunk_ && at_ == other.at_;
    }
    /// How many sections are the same from here on, at least: up to the end of a chunk.
    [[nodiscard]] std::size_t same_as(reader const& other) const noexcept {
      const std::size_t most = std::min(left(), other.left());
      section const* const mine = at_;
      section const* const theirs = other.at_;
      std::size_t same = 0;
      while (same != most && mine[same] == theirs[same]) ++same;
      return same;
    }

    void advance(std::size_t by) noexcept {
      at_ += by;
      if (at_ == end_) next_chunk();
    }
    void next_chunk() noexcept {
      ++chunk_;
      if (chunk_ == last_chunk_) next_group();
      else enter_chunk();
    }
    void next_group() noexcept {
      ++group_;
      enter_group();
    }
    void move_to(std::vector<section>& sections) {
      sections.push_back(*at_);
      advance(1);
    }
    void move_rest_to(std::vector<section>& sections) {
      for (; !done(); next_chunk()) sections.insert(sections.end(), at_, end_);
    }

   private:
    [[nodiscard]] std::size_t left() const noexcept { return static_cast<std::size_t>(end_ - at_); }
    void enter_group() noexcept {
      if (done()) return;
      chunk_ = (*group_)->chunks().data();
      last_chunk_ = chunk_ + (*group_)->chunks().size();
      enter_chunk();
    }
    void enter_chunk() noexcept {
      at_ = (*chunk_)->sections().data();
      end_ = at_ + (*chunk_)->size();
    }

    group_pointer const* group_;
    group_pointer const* last_group_;
    chunk_pointer const* chunk_ = nullptr;
    chunk_pointer const* last_chunk_ = nullptr;
    section const* at_ = nullptr;
    section const* end_ = nullptr;
  };
};

}  // namespace tether::detail
