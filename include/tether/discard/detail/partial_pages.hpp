// SPDX-License-Identifier: BSL-1.0
// A guest inflates frames of 4 KiB, a host discards whole host pages, which may be 64 KiB or 1 GiB:
// the frames are collected here until a host page is complete. Discarding it earlier would take
// memory that the guest still uses; that was a real bug, found as guest corruption.
//
//     host page of 64 KiB   |x|x|.|x|x|x|x|x|x|x|x|x|x|x|x|x|   15 of 16: wait
#pragma once

#include <tether/core/detail/exceptions.hpp>
#include <tether/discard/detail/page_group.hpp>
#include <tether/discard/detail/request_notes.hpp>
#include <tether/discard/frames.hpp>
#include <tether/topology/detail/section_owner.hpp>
#include <tether/topology/flat_view.hpp>
#include <tether/topology/memory_backing.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <memory_resource>
#include <utility>

namespace tether::detail {

/// The partially inflated host pages of one block, all recorded under one generation of the block:
/// records from before an edit of the map that concerned the block are void, because the guest may
/// have lost the memory and got it again meanwhile.
class block_records {
 public:
  /// `number` is no other records' in their lifetime or a request's. `owner` keeps the block alive.
  /// The records refer to it weakly, so they never delay an unplug.
  block_records(std::uint64_t number, std::uint64_t generation, std::uint64_t page_bytes,
                section_owner_pointer const& owner, std::pmr::memory_resource* memory)
      : number_{number},
        generation_{generation},
        page_bytes_{page_bytes},
        owner_{owner},
        memory_{memory},
        groups_{memory} {}

  [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
  /// Bytes of what its frames complete: a host page, or a unit of divided memory.
  [[nodiscard]] std::uint64_t page_bytes() const noexcept { return page_bytes_; }
  /// Whether the map and every view have dropped the memory: then the address of the block may be
  /// dangling or reused.
  [[nodiscard]] bool expired() const noexcept { return owner_.expired(); }
  [[nodiscard]] bool empty() const noexcept { return groups_.empty(); }
  /// Number of host pages with inflated frames.
  [[nodiscard]] std::size_t size() const noexcept {
    std::size_t pages = 0;
    for (auto const& [number, group] : groups_) pages += group.size();
    return pages;
  }

  /// Names the page that contains `offset`, for the notes of a request.
  [[nodiscard]] page_key key_of(std::uint64_t offset) const noexcept {
    return {number_, offset / page_bytes_};
  }
  /// The page that contains `offset`, with its record; none if out of memory.
  [[nodiscard]] partial_page at(std::uint64_t offset) noexcept {
    TETHER_TRY {
      page_group& group =
          groups_.try_emplace(offset / group_bytes(), frames_per_page(), memory_).first->second;
      return {group, offset % group_bytes() / page_bytes_};
    }
    TETHER_CATCH(...) { return {}; }
  }
  /// The guest uses the frame at `offset` again.
  void mark_used(std::uint64_t offset) noexcept {
    const auto found = groups_.find(offset / group_bytes());
    if (found == groups_.end()) return;
    found->second.mark_used(offset % group_bytes() / frame_size);
    if (found->second.empty()) groups_.erase(found);
  }

 private:
  [[nodiscard]] std::uint64_t frames_per_page() const noexcept { return page_bytes_ / frame_size; }
  [[nodiscard]] std::uint64_t group_bytes() const noexcept {
    return page_group::frames_in(frames_per_page()) * frame_size;
  }

  std::uint64_t number_;
  std::uint64_t generation_;
  std::uint64_t page_bytes_;
  std::weak_ptr<section_owner const> owner_;
  std::pmr::memory_resource* memory_;
  std::pmr::map<std::uint64_t, page_group> groups_;  // only those with inflated frames
};

/// All partially inflated host pages. Not thread-safe. Allocates nothing before the first frame,
/// and then a bit for each frame of the groups that have inflated frames.
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

  /// The records of a block, created if there are none, for pages of `page_bytes`. Those of another
  /// generation are void: the caller must `erase` them before it records anything. Null if out of
  /// memory.
  [[nodiscard]] block_records* of(memory_backing const& block, std::uint64_t generation,
                                  std::uint64_t page_bytes,
                                  section_owner_pointer const& owner) noexcept {
    TETHER_TRY {
      const auto [at, fresh] =
          blocks_.try_emplace(&block, last_number_ + 1, generation, page_bytes, owner, memory_);
      last_number_ += fresh ? 1 : 0;
      return &at->second;
    }
    TETHER_CATCH(...) { return nullptr; }
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
  std::uint64_t last_number_ = 0;
  std::pmr::map<memory_backing const*, block_records> blocks_;
};

}  // namespace tether::detail
