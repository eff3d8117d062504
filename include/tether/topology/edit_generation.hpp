// SPDX-License-Identifier: BSL-1.0
// Tells whoever keeps notes about a block whether they still hold: a number that every edit of a map that concerns the block changes.
// A note is kept with the number under which it was made, and means nothing under another.
//
//     a commit     edits under way += 1 | a new number  | publish the view       | edits under way -= 1
//     a reader     take the view        | the number n? | no edit under way?     | is that view still published?
//
// Where both answers are yes, the view shows the block as n stands for it. An edit that wrote its number before n was read was under way
// by then; if it is not any more, it has published, and a view from before it is not published now. An edit that writes its number later
// does so before it publishes, and n never comes again: what was noted under n is void before anybody can see that edit. Until then the
// view shows the block rightly, however many edits of other blocks are published. Edits by several address spaces that show one
// block make no difference: no argument above says whose edit it is.
#pragma once

#include <atomic>
#include <cstdint>

namespace tether::detail {

/// Of one block. All orders are sequentially consistent: commits are rare, and a batch of look-ups reads the second word but once.
class edit_generation {
 public:
  edit_generation() noexcept : number_{next()} {}
  edit_generation(edit_generation const&) = delete;
  edit_generation& operator=(edit_generation const&) = delete;
  ~edit_generation() = default;

  /// Never 0, and never the same for two blocks of the process, so a new block at a freed one's address has another.
  [[nodiscard]] std::uint64_t number() const noexcept { return number_.load(); }
  [[nodiscard]] bool edit_under_way() const noexcept { return under_way_.load() != 0; }

  /// Around the publishing of a view. Several may be open at once.
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
