// SPDX-License-Identifier: BSL-1.0
// Which frames of some adjacent host pages the guest has inflated: a bit a frame, since a guest may
// inflate all that it has. Nothing else is kept for a page but whether it was discarded already.
//
//     pages of 64 KiB     |x|x|x|x|x|x|x|x|x|x|x|x|x|x|x|x|x|x|.|...   frames
//                         |               D               |        ...   discarded
#pragma once

#include <tether/core/address.hpp>
#include <tether/discard/frames.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <vector>

namespace tether::detail {

/// Pages are numbered from the group's beginning, frames too.
class page_group {
 public:
  /// How many frames a group has: 16 MiB of them, or one page where that is larger. So what a group
  /// costs beside its bits is little, and a lone frame costs little, too.
  [[nodiscard]] static constexpr std::uint64_t frames_in(std::uint64_t frames_per_page) noexcept {
    return std::max(fewest_frames, frames_per_page);
  }

  /// Requires: `frames_per_page` is a power of two. Fails: throws `std::bad_alloc`.
  page_group(std::uint64_t frames_per_page, std::pmr::memory_resource* memory)
      : frames_per_page_{frames_per_page},
        words_(words_for(frames_in(frames_per_page)) +
                   words_for(frames_in(frames_per_page) / frames_per_page),
               0, memory) {}

  [[nodiscard]] std::uint64_t frames_per_page() const noexcept { return frames_per_page_; }
  [[nodiscard]] bool empty() const noexcept { return inflated_ == 0; }
  /// Pages with inflated frames.
  [[nodiscard]] std::size_t size() const noexcept {
    std::size_t pages = 0;
    for (std::uint64_t page = 0; page < frames() / frames_per_page_; ++page)
      if (inflated(page) != 0) ++pages;
    return pages;
  }

  /// Marks a frame as inflated. Returns whether it was not before.
  bool mark_free(std::uint64_t frame) noexcept {
    if (!set(words_[frame / 64], frame, true)) return false;
    inflated_ += 1;
    return true;
  }
  /// Marks a frame as deflated, so its page is in use again. Returns whether it was inflated.
  bool mark_used(std::uint64_t frame) noexcept {
    if (!set(words_[frame / 64], frame, false)) return false;
    inflated_ -= 1;
    mark_discarded(frame / frames_per_page_, false);
    return true;
  }
  /// How many frames of the page are inflated.
  [[nodiscard]] std::uint64_t inflated(std::uint64_t page) const noexcept {
    if (frames_per_page_ == frames()) return inflated_;
    const std::uint64_t first = page * frames_per_page_;
    const std::uint64_t word = words_[first / 64];
    if (frames_per_page_ < 64)
      return count(word >> (first % 64) & ((std::uint64_t{1} << frames_per_page_) - 1));
    std::uint64_t all = 0;
    for (std::uint64_t at = first; at < first + frames_per_page_; at += 64)
      all += count(words_[at / 64]);
    return all;
  }

  /// Whether the page was discarded, and none of its frames deflated since.
  [[nodiscard]] bool discarded(std::uint64_t page) const noexcept {
    return (words_[words_for(frames()) + page / 64] >> (page % 64) & 1) != 0;
  }
  void mark_discarded(std::uint64_t page, bool on) noexcept {
    set(words_[words_for(frames()) + page / 64], page, on);
  }

 private:
  static constexpr std::uint64_t fewest_frames = 16 * MiB / frame_size;

  [[nodiscard]] std::uint64_t frames() const noexcept { return frames_in(frames_per_page_); }
  static constexpr std::size_t words_for(std::uint64_t bits) noexcept {
    return static_cast<std::size_t>((bits + 63) / 64);
  }
  static std::uint64_t count(std::uint64_t word) noexcept {
    return static_cast<std::uint64_t>(std::popcount(word));
  }
  /// Returns whether the bit has changed.
  static bool set(std::uint64_t& word, std::uint64_t number, bool on) noexcept {
    const std::uint64_t bit = std::uint64_t{1} << (number % 64);
    if (((word & bit) != 0) == on) return false;
    word ^= bit;
    return true;
  }

  std::uint64_t frames_per_page_;
  std::uint64_t inflated_ = 0;
  std::pmr::vector<std::uint64_t> words_;  // of the frames, then of the pages
};

/// One page of a group. Invalid once the group is erased.
class partial_page {
 public:
  partial_page() noexcept = default;
  partial_page(page_group& group, std::uint64_t page) noexcept : group_{&group}, page_{page} {}

  /// Whether it is one.
  [[nodiscard]] explicit operator bool() const noexcept { return group_ != nullptr; }
  friend bool operator==(partial_page const&, partial_page const&) noexcept = default;

  /// Frames are numbered from the page's beginning.
  bool mark_free(std::uint64_t frame) const noexcept {
    return group_->mark_free(page_ * frames() + frame);
  }
  bool mark_used(std::uint64_t frame) const noexcept {
    return group_->mark_used(page_ * frames() + frame);
  }
  /// Whether all its frames are inflated.
  [[nodiscard]] bool complete() const noexcept { return inflated() == frames(); }
  [[nodiscard]] std::uint64_t inflated() const noexcept { return group_->inflated(page_); }
  [[nodiscard]] std::uint64_t frames() const noexcept { return group_->frames_per_page(); }
  [[nodiscard]] bool discarded() const noexcept { return group_->discarded(page_); }
  void mark_discarded() const noexcept { group_->mark_discarded(page_, true); }

 private:
  page_group* group_ = nullptr;
  std::uint64_t page_ = 0;
};

}  // namespace tether::detail
