// SPDX-License-Identifier: BSL-1.0
// A guest gives back frames of 4 KiB, a host discards whole pages of its own, which may be 64 KiB or
// 1 GiB: the frames gather here until a host page is complete. Discarding it sooner would take memory
// that the guest still uses; that was a real bug, found as guest corruption.
//
//     host page of 64 KiB   |x|x|.|x|x|x|x|x|x|x|x|x|x|x|x|x|   15 of 16: wait
#pragma once

#include <tether/core/address.hpp>
#include <tether/discard/frames.hpp>
#include <tether/topology/anchor.hpp>
#include <tether/topology/memory_backing.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <memory_resource>
#include <utility>
#include <vector>

namespace tether::detail {

/// The frames of one host page that the guest has given.
class partial_page {
 public:
  partial_page(std::uint64_t page_bytes, std::pmr::memory_resource* memory)
      : frames_{page_bytes / frame_size}, bits_((frames_ + 63) / 64, 0, memory) {}

  /// Answers whether it was not there before.
  bool give(std::uint64_t frame) noexcept {
    std::uint64_t& word = bits_[frame / 64];
    const std::uint64_t bit = std::uint64_t{1} << (frame % 64);
    const bool is_new = (word & bit) == 0;
    word |= bit;
    given_ += is_new ? 1 : 0;
    return is_new;
  }
  /// The guest has it again, so the page is in use again. Answers whether it was there.
  bool take_back(std::uint64_t frame) noexcept {
    std::uint64_t& word = bits_[frame / 64];
    const std::uint64_t bit = std::uint64_t{1} << (frame % 64);
    if ((word & bit) == 0) return false;
    word &= ~bit;
    given_ -= 1;
    gone_in = 0;
    return true;
  }
  [[nodiscard]] bool complete() const noexcept { return given_ == frames_; }
  [[nodiscard]] bool empty() const noexcept { return given_ == 0; }
  [[nodiscard]] std::uint64_t given() const noexcept { return given_; }
  [[nodiscard]] std::uint64_t frames() const noexcept { return frames_; }

  /// A request (a number, not 0) looks at the page: what it is told is counted from here.
  void seen_by(std::uint64_t request) noexcept {
    if (request_ == request) return;
    request_ = request;
    waiting_here = 0;
  }
  void forget_all() noexcept {
    std::ranges::fill(bits_, std::uint64_t{0});
    given_ = 0;
    waiting_here = 0;
    gone_in = 0;
  }

  static constexpr std::size_t not_queued = std::numeric_limits<std::size_t>::max();

  std::weak_ptr<anchor const> owner{};  ///< who kept the memory alive when the first frame came
  std::uint64_t waiting_here = 0;       ///< frames that the present request has been told are partial
  std::size_t queued = not_queued;      ///< where in the batch, once complete
  std::uint64_t gone_in = 0;            ///< the request that discarded it; 0 if none did since a frame was taken back

 private:
  std::uint64_t frames_;
  std::uint64_t given_ = 0;
  std::uint64_t request_ = 0;
  std::pmr::vector<std::uint64_t> bits_;
};

/// All host pages of which a part was given. Not thread-safe. Allocates nothing until a first frame comes.
class partial_pages {
 public:
  explicit partial_pages(std::pmr::memory_resource* memory) noexcept : memory_{memory}, pages_{memory} {}

  /// The page that holds `offset`, with what was given so far; null if there is no memory to note it.
  /// `owner` keeps the block alive now. What was given while another owner did, who is gone, is forgotten: the address of a
  /// freed block may be a new block's, and a page of that must not be complete because of the old one's frames.
  [[nodiscard]] partial_page* at(memory_backing& block, anchor_pointer const& owner, std::uint64_t offset) noexcept {
    partial_page* page = nullptr;
    try {
      page = &pages_.try_emplace(key{&block, offset / block.page_size()}, block.page_size(), memory_).first->second;
    } catch (...) {
      return nullptr;
    }
    if (page->owner.expired()) {
      page->forget_all();
      page->owner = owner;
    }
    return page;
  }

  /// The guest has that frame again.
  void take_back(memory_backing& block, std::uint64_t offset) noexcept {
    const auto found = pages_.find(key{&block, offset / block.page_size()});
    if (found == pages_.end()) return;
    found->second.take_back(offset % block.page_size() / frame_size);
    if (found->second.empty()) pages_.erase(found);
  }

  void clear() noexcept { pages_.clear(); }
  /// Host pages of which something was given.
  [[nodiscard]] std::size_t size() const noexcept { return pages_.size(); }

 private:
  using key = std::pair<memory_backing const*, std::uint64_t>;
  std::pmr::memory_resource* memory_;
  std::pmr::map<key, partial_page> pages_;
};

}  // namespace tether::detail
