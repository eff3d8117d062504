// SPDX-License-Identifier: BSL-1.0
// A guest inflates frames of 4 KiB, a host discards whole host pages, which may be 64 KiB or 1 GiB:
// the frames are collected here until a host page is complete. Discarding it earlier would take
// memory that the guest still uses; that was a real bug, found as guest corruption.
//
//     host page of 64 KiB   |x|x|.|x|x|x|x|x|x|x|x|x|x|x|x|x|   15 of 16: wait
#pragma once

#include <tether/core/address.hpp>
#include <tether/discard/frames.hpp>
#include <tether/topology/detail/section_owner.hpp>
#include <tether/topology/memory_backing.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <memory_resource>
#include <vector>

namespace tether::detail {

/// A bitmap of the frames of one host page that the guest has inflated.
class partial_page {
 public:
  partial_page(std::uint64_t page_bytes, std::pmr::memory_resource* memory)
      : frames_{page_bytes / frame_size}, bits_((frames_ + 63) / 64, 0, memory) {}

  /// Marks a frame as inflated. Returns whether it was not before.
  bool mark_free(std::uint64_t frame) noexcept {
    std::uint64_t& word = bits_[frame / 64];
    const std::uint64_t bit = std::uint64_t{1} << (frame % 64);
    const bool is_new = (word & bit) == 0;
    word |= bit;
    inflated_ += is_new ? 1 : 0;
    return is_new;
  }
  /// Marks a frame as deflated, so the page is in use again. Returns whether it was inflated.
  bool mark_used(std::uint64_t frame) noexcept {
    std::uint64_t& word = bits_[frame / 64];
    const std::uint64_t bit = std::uint64_t{1} << (frame % 64);
    if ((word & bit) == 0) return false;
    word &= ~bit;
    inflated_ -= 1;
    discarded_in_request = 0;
    return true;
  }
  /// Whether all its frames are inflated.
  [[nodiscard]] bool complete() const noexcept { return inflated_ == frames_; }
  [[nodiscard]] bool empty() const noexcept { return inflated_ == 0; }
  [[nodiscard]] std::uint64_t inflated() const noexcept { return inflated_; }
  [[nodiscard]] std::uint64_t frames() const noexcept { return frames_; }

  /// Sets the request (a number, not 0) that handles the page now; a new one counts from zero.
  void start_request(std::uint64_t request) noexcept {
    if (request_ == request) return;
    request_ = request;
    pending_in_request = 0;
  }
  static constexpr std::size_t not_queued = std::numeric_limits<std::size_t>::max();

  /// frames of the current request that were reported as partial
  std::uint64_t pending_in_request = 0;
  std::size_t queued = not_queued;  ///< index in the batch, once complete
  /// the request that discarded it; 0 if none did since a frame was deflated
  std::uint64_t discarded_in_request = 0;

 private:
  std::uint64_t frames_;
  std::uint64_t inflated_ = 0;
  std::uint64_t request_ = 0;
  std::pmr::vector<std::uint64_t> bits_;
};

/// The partially inflated host pages of one block, all recorded under one generation of the block:
/// records from before an edit of the map that concerned the block are void, because the guest may
/// have lost the memory and got it again meanwhile.
class block_records {
 public:
  /// `owner` keeps the block alive. The records refer to it weakly, so they never delay an unplug.
  block_records(std::uint64_t generation, std::uint64_t page_bytes,
                section_owner_pointer const& owner, std::pmr::memory_resource* memory)
      : generation_{generation},
        page_bytes_{page_bytes},
        owner_{owner},
        memory_{memory},
        pages_{memory} {}

  [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
  /// Whether the map and every view have dropped the memory: then the address of the block may be
  /// dangling or reused.
  [[nodiscard]] bool expired() const noexcept { return owner_.expired(); }
  [[nodiscard]] bool empty() const noexcept { return pages_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return pages_.size(); }

  /// The record of the page that contains `offset`, created if there is none; null if out of
  /// memory.
  [[nodiscard]] partial_page* at(std::uint64_t offset) noexcept {
    try {
      return &pages_.try_emplace(offset / page_bytes_, page_bytes_, memory_).first->second;
    } catch (...) {
      return nullptr;
    }
  }
  /// The guest uses the frame at `offset` again.
  void mark_used(std::uint64_t offset) noexcept {
    const auto found = pages_.find(offset / page_bytes_);
    if (found == pages_.end()) return;
    found->second.mark_used(offset % page_bytes_ / frame_size);
    if (found->second.empty()) pages_.erase(found);
  }

 private:
  std::uint64_t generation_;
  std::uint64_t page_bytes_;
  std::weak_ptr<section_owner const> owner_;
  std::pmr::memory_resource* memory_;
  std::pmr::map<std::uint64_t, partial_page> pages_;
};

/// All partially inflated host pages. Not thread-safe. Allocates nothing before the first frame.
class partial_pages {
 public:
  explicit partial_pages(std::pmr::memory_resource* memory) noexcept
      : memory_{memory}, blocks_{memory} {}

  /// Erases the records of memory that is gone. Requires: no page is in a batch.
  void erase_expired() noexcept {
    std::erase_if(blocks_, [](auto const& one) { return one.second.expired(); });
  }
  /// Erases the records of a block. Requires: no page of it is in a batch.
  void erase(memory_backing const& block) noexcept { blocks_.erase(&block); }

  /// The records of a block, created if there are none. Those of another generation are void: the
  /// caller must `erase` them before it records anything. Null if out of memory.
  [[nodiscard]] block_records* of(memory_backing const& block, std::uint64_t generation,
                                  section_owner_pointer const& owner) noexcept {
    try {
      return &blocks_.try_emplace(&block, generation, block.page_size(), owner, memory_)
                  .first->second;
    } catch (...) {
      return nullptr;
    }
  }

  /// The guest uses that frame again. Records of another generation stay as they are: they are
  /// void.
  void mark_used(memory_backing& block, std::uint64_t offset) noexcept {
    const auto found = blocks_.find(&block);
    if (found == blocks_.end() || found->second.generation() != block.generation().number()) return;
    found->second.mark_used(offset);
    if (found->second.empty()) blocks_.erase(found);
  }

  void clear() noexcept { blocks_.clear(); }
  /// Number of partially inflated host pages.
  [[nodiscard]] std::size_t size() const noexcept {
    std::size_t pages = 0;
    for (auto const& [block, records] : blocks_) pages += records.size();
    return pages;
  }

 private:
  std::pmr::memory_resource* memory_;
  std::pmr::map<memory_backing const*, block_records> blocks_;
};

}  // namespace tether::detail
