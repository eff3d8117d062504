// SPDX-License-Identifier: BSL-1.0
// Runs of addresses, free and taken, side by side: what an allocator of I/O addresses looks
// through. A treap, sorted by address; each node knows the largest free run below it, so the first
// one that is large enough is found without looking at those that are not.
//
//     usable     |---- range 0 ----------------------|      |---- range 1 ----|
//     tiles      | free | taken | taken |    free    |      |      free       |
#pragma once

#include <tether/core/detail/exceptions.hpp>
#include <tether/version.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <vector>

namespace tether::detail {

/// One run. `range` numbers the usable range that it is part of: free runs of two ranges are never
/// one, not even where they meet. Units: bytes.
struct iova_tile {
  std::uint64_t first{};
  std::uint64_t last{};
  std::uint32_t range{};
  bool taken = false;

  /// How much of it is free: nothing, or all of it, and of all 2^64 bytes one less.
  [[nodiscard]] constexpr std::uint64_t free_bytes() const noexcept {
    if (taken) return 0;
    const std::uint64_t reach = last - first;
    return reach == std::numeric_limits<std::uint64_t>::max() ? reach : reach + 1;
  }
};

/// The runs. Nodes lie in one vector, and what is removed makes room for what is inserted.
/// Cost: each function log N, but where it says more; 48 bytes a run.
class iova_tiles {
 public:
  /// Makes sure that `more` can be inserted. Fails (false), changing nothing: not enough memory.
  [[nodiscard]] bool make_room(std::size_t more) noexcept {
    TETHER_TRY {
      while (nodes_.size() - used_ < more) {
        nodes_.emplace_back().left = spare_;
        spare_ = static_cast<std::uint32_t>(nodes_.size() - 1);
      }
      return true;
    }
    TETHER_CATCH(std::bad_alloc const&) { return false; }
  }

  /// Requires: `make_room` was asked for it, and it overlaps nothing.
  void insert(iova_tile one) noexcept {
    const std::uint32_t made = spare_;
    spare_ = nodes_[made].left;
    ++used_;
    // A sequence without a pattern (splitmix64's first half): what is inserted in order of address
    // would else become a list.
    sequence_ += 0x9e37'79b9'7f4a'7c15;
    const std::uint64_t mixed = (sequence_ ^ (sequence_ >> 30U)) * 0xbf58'476d'1ce4'e5b9;
    nodes_[made] = {one, one.free_bytes(), nobody, nobody, static_cast<std::uint32_t>(mixed >> 32)};
    std::uint32_t before = nobody;
    std::uint32_t behind = nobody;
    split(root_, one.first, before, behind);
    root_ = merge(merge(before, made), behind);
  }
  /// Requires: it is there.
  void remove(iova_tile one) noexcept { root_ = removed(root_, one.first); }

  /// The run that has this address, or null. Valid until the next change.
  [[nodiscard]] iova_tile const* find(std::uint64_t address) const noexcept {
    iova_tile const* found = nullptr;
    for (std::uint32_t at = root_; at != nobody;) {
      node const& here = nodes_[at];
      if (here.tile.first <= address) found = &here.tile;
      at = here.tile.first <= address ? here.right : here.left;
    }
    return found != nullptr && address <= found->last ? found : nullptr;
  }
  /// The first free run of at least `bytes` that `fits(run)` says yes to, or null. Requires:
  /// `bytes` is not 0. Cost: log N for each that it says no to.
  template <class Fits>
  [[nodiscard]] iova_tile const* first_free(std::uint64_t bytes, Fits fits) const noexcept {
    return first_free(root_, bytes, fits);
  }
  /// Calls `visit(run)` for each, by address, until it answers false. Cost: N.
  template <class Visit>
  bool each(Visit visit) const noexcept {
    return each(root_, visit);
  }

  /// Bytes of the largest free run, 0 if there is none. Cost: constant.
  [[nodiscard]] std::uint64_t largest_free() const noexcept { return largest(root_); }
  /// Runs. Cost: constant.
  [[nodiscard]] std::size_t size() const noexcept { return used_; }

 private:
  static constexpr std::uint32_t nobody = std::numeric_limits<std::uint32_t>::max();
  struct node {
    iova_tile tile{};
    std::uint64_t largest = 0;  // free run, of this one and all below
    std::uint32_t left = nobody;
    std::uint32_t right = nobody;
    std::uint32_t priority = 0;  // not below that of any below
  };

  [[nodiscard]] std::uint64_t largest(std::uint32_t at) const noexcept {
    return at == nobody ? 0 : nodes_[at].largest;
  }
  void sum_up(std::uint32_t at) noexcept {
    node& here = nodes_[at];
    here.largest = std::max({here.tile.free_bytes(), largest(here.left), largest(here.right)});
  }
  /// Of `at`, those that begin before `address`, and the others.
  void split(std::uint32_t at, std::uint64_t address, std::uint32_t& before,
             std::uint32_t& behind) noexcept {
    if (at == nobody) {
      before = behind = nobody;
      return;
    }
    if (nodes_[at].tile.first < address) {
      split(nodes_[at].right, address, nodes_[at].right, behind);
      before = at;
    } else {
      split(nodes_[at].left, address, before, nodes_[at].left);
      behind = at;
    }
    sum_up(at);
  }
  /// Requires: all of `before` lies before all of `behind`.
  [[nodiscard]] std::uint32_t merge(std::uint32_t before, std::uint32_t behind) noexcept {
    if (before == nobody) return behind;
    if (behind == nobody) return before;
    const bool first = nodes_[before].priority >= nodes_[behind].priority;
    if (first) nodes_[before].right = merge(nodes_[before].right, behind);
    else nodes_[behind].left = merge(before, nodes_[behind].left);
    sum_up(first ? before : behind);
    return first ? before : behind;
  }
  [[nodiscard]] std::uint32_t removed(std::uint32_t at, std::uint64_t first) noexcept {
    node& here = nodes_[at];
    if (here.tile.first == first) {
      const std::uint32_t rest = merge(here.left, here.right);
      here.left = spare_;
      spare_ = at;
      --used_;
      return rest;
    }
    std::uint32_t& below = first < here.tile.first ? here.left : here.right;
    below = removed(below, first);
    sum_up(at);
    return at;
  }
  template <class Fits>
  [[nodiscard]] iova_tile const* first_free(std::uint32_t at, std::uint64_t bytes,
                                            Fits& fits) const noexcept {
    if (largest(at) < bytes) return nullptr;
    node const& here = nodes_[at];
    if (auto const* const found = first_free(here.left, bytes, fits)) return found;
    if (here.tile.free_bytes() >= bytes && fits(here.tile)) return &here.tile;
    return first_free(here.right, bytes, fits);
  }
  template <class Visit>
  bool each(std::uint32_t at, Visit& visit) const noexcept {
    if (at == nobody) return true;
    node const& here = nodes_[at];
    return each(here.left, visit) && visit(here.tile) && each(here.right, visit);
  }

  std::vector<node> nodes_;
  std::uint32_t root_ = nobody;
  std::uint32_t spare_ = nobody;  // of those without a run; `left` leads to the next
  std::size_t used_ = 0;
  std::uint64_t sequence_ = 0;
};

}  // namespace tether::detail
