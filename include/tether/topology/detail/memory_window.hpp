// SPDX-License-Identifier: BSL-1.0
// The part of its memory that one block shows: all of private and borrowed memory, a range of a
// shared file. Owned by the block, referred to weakly by regions, so a region knows when its block
// is gone even if another block still shows the same file.
#pragma once

#include <tether/core/label.hpp>
#include <tether/topology/memory_backing.hpp>

#include <tether/core/address.hpp>

#include <cstdint>
#include <memory>
#include <utility>

namespace tether::detail {

/// Immutable. `first` is its offset in the memory; `size` is in bytes.
struct memory_window {
  std::shared_ptr<memory_backing> memory{};
  block_offset first{};
  std::uint64_t size = 0;
  label name{};
  /// False if it came by a descriptor that is open for reading only, whatever the memory allows.
  bool writable = true;
};

/// A scoped reference, which keeps memory from being freed as a placed region does. Empty if there
/// is no memory, or it was freed.
class memory_reference {
 public:
  memory_reference() noexcept = default;
  explicit memory_reference(std::shared_ptr<memory_window const> const& window) noexcept
      : memory_{window && window->memory->retain_if_there() ? window->memory.get() : nullptr} {}
  memory_reference(memory_reference&& other) noexcept
      : memory_{std::exchange(other.memory_, nullptr)} {}
  memory_reference& operator=(memory_reference&&) = delete;
  ~memory_reference() {
    if (memory_ != nullptr) memory_->release();
  }

  [[nodiscard]] memory_backing* get() const noexcept { return memory_; }

 private:
  memory_backing* memory_ = nullptr;
};

}  // namespace tether::detail
