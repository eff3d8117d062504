// SPDX-License-Identifier: BSL-1.0
// Chunks that views share together: a commit copies one pointer for each group around the one that
// it changes, not one for each chunk. A view of one group needs no list of them.
#pragma once

#include <tether/topology/detail/section_chunk.hpp>
#include <tether/topology/section.hpp>

#include <cstddef>
#include <iterator>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace tether::detail {

using chunk_pointer = std::shared_ptr<section_chunk const>;

/// Never empty, and immutable, once a view has it.
class chunk_group {
 public:
  static constexpr std::size_t capacity = 32;  ///< chunks

  /// They are moved from. Requires: at least one, at most `capacity`. Cost: one allocation. Fails:
  /// throws `std::bad_alloc`.
  [[nodiscard]] static std::shared_ptr<chunk_group const> make(std::span<chunk_pointer> all) {
    void* behind = nullptr;  // set before the constructor reads it
    return std::allocate_shared<chunk_group>(
        allocator_with_room<chunk_group>{all.size_bytes(), &behind}, all, behind);
  }
  /// For `make` alone. `behind`: room for as many.
  chunk_group(std::span<chunk_pointer> all, void* const& behind) noexcept
      : chunks_{static_cast<chunk_pointer*>(behind)}, size_{all.size()} {
    std::uninitialized_move_n(all.data(), size_, chunks_);
    for (auto const& one : chunks()) sections_ += one->size();
  }
  chunk_group(chunk_group const&) = delete;
  chunk_group& operator=(chunk_group const&) = delete;
  ~chunk_group() { std::destroy_n(chunks_, size_); }

  [[nodiscard]] std::span<chunk_pointer const> chunks() const noexcept { return {chunks_, size_}; }
  /// Of all its chunks.
  [[nodiscard]] std::size_t sections() const noexcept { return sections_; }
  [[nodiscard]] section const& last_section() const noexcept {
    return chunks_[size_ - 1]->sections().back();
  }

 private:
  chunk_pointer* chunks_;
  std::size_t size_;
  std::size_t sections_ = 0;
};

using group_pointer = std::shared_ptr<chunk_group const>;

/// The groups of a view. Cost of making it: one allocation if there are several.
class group_list {
 public:
  group_list() noexcept = default;
  /// They are moved from. Fails: throws `std::bad_alloc`.
  explicit group_list(std::span<group_pointer> all) {
    if (all.size() == 1) one_ = std::move(all.front());
    else many_.assign(std::move_iterator{all.begin()}, std::move_iterator{all.end()});
  }

  [[nodiscard]] std::span<group_pointer const> all() const noexcept {
    if (one_ != nullptr) return {&one_, 1};
    return many_;
  }

 private:
  group_pointer one_{};
  std::vector<group_pointer> many_{};
};

}  // namespace tether::detail
