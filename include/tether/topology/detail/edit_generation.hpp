// SPDX-License-Identifier: BSL-1.0
// A generation number per RAM block, which validates cached look-ups: every map edit that concerns
// the block changes it. A cache entry keeps the number it was made under; another number voids it.
//
//     commit   edits under way += 1 | new number    | publish the view    | edits under way -= 1
//     reader   take the view        | the number n? | edits under way: 0? | view still published?
//
// If the last two answers are yes, the view shows the block as of n. An edit that wrote its number
// before n was read was under way then; if it no longer is, it has published, and a view from
// before it is not the published one. An edit that writes its number later does so before it
// publishes, and n is never reused: entries made under n are void before that edit can be seen.
// Until then the view shows the block correctly, however many edits of other blocks are published.
// Several address spaces may show one block: nothing above depends on which of them edits.
#pragma once

#include <tether/version.hpp>

#include <atomic>
#include <cstdint>

namespace tether::detail {

/// One per block. All seq_cst: commits are rare, a batch of look-ups reads the second word once.
class edit_generation {
 public:
  edit_generation() noexcept : number_{next()} {}
  edit_generation(edit_generation const&) = delete;
  edit_generation& operator=(edit_generation const&) = delete;
  ~edit_generation() = default;

  /// Never 0, and unique in the process: a new block at a freed one's address has another.
  [[nodiscard]] std::uint64_t number() const noexcept { return number_.load(); }
  [[nodiscard]] bool edit_under_way() const noexcept { return under_way_.load() != 0; }

  /// Called before and after publishing a view. Several edits may be under way at once.
  void begin_edit() noexcept {
    under_way_.fetch_add(1);
    number_.store(next());
  }
  /// Requires: an earlier `begin_edit`.
  void end_edit() noexcept { under_way_.fetch_sub(1); }

 private:
  static std::uint64_t next() noexcept {
    static constinit std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1) + 1;
  }

  std::atomic<std::uint64_t> number_;
  std::atomic<std::uint64_t> under_way_{0};
};

}  // namespace tether::detail
