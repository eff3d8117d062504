// SPDX-License-Identifier: BSL-1.0
// What one block shows of its memory: all of private and borrowed memory, a part of a shared file. The block owns it, regions only
// watch it; so a region knows when its block is gone, although another block may still show the same file.
#pragma once

#include <tether/topology/label.hpp>
#include <tether/topology/memory_backing.hpp>

#include <tether/core/address.hpp>

#include <cstdint>
#include <memory>
#include <utility>

namespace tether::detail {

/// Immutable. `first` is where it begins in the memory, `size` in bytes.
struct memory_window {
  std::shared_ptr<memory_backing> memory{};
  block_offset first{};
  std::uint64_t size = 0;
  label name{};
};

/// Keeps memory from being freed while it lives, as a placed region does. Empty where there is none, or it was freed.
class memory_hold {
 public:
  memory_hold() noexcept = default;
  explicit memory_hold(std::shared_ptr<memory_window const> const& window) noexcept
      : memory_{window && window->memory->retain_if_there() ? window->memory.get() : nullptr} {}
  memory_hold(memory_hold&& other) noexcept : memory_{std::exchange(other.memory_, nullptr)} {}
  memory_hold& operator=(memory_hold&&) = delete;
  ~memory_hold() {
    if (memory_ != nullptr) memory_->release();
  }

  [[nodiscard]] memory_backing* get() const noexcept { return memory_; }

 private:
  memory_backing* memory_ = nullptr;
};

}  // namespace tether::detail
