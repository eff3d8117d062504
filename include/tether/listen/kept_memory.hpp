// SPDX-License-Identifier: BSL-1.0
// Memory that could not be unmapped although its section is gone: a device may still reach it, so it must not be freed.
#pragma once

#include <tether/topology/memory_backing.hpp>

#include <cstddef>
#include <exception>
#include <vector>

namespace tether {

/// Retains memory until `release`, or until it is destroyed. Not thread-safe.
class kept_memory {
 public:
  kept_memory() = default;
  kept_memory(kept_memory const&) = delete;
  kept_memory& operator=(kept_memory const&) = delete;
  ~kept_memory() { release(); }

  /// Room for `count` in all, so that keeping needs no memory. False: there is none.
  [[nodiscard]] bool reserve(std::size_t count) noexcept try {
    kept_.reserve(count);
    return true;
  } catch (std::exception const&) {
    return false;
  }
  /// If even this cannot be remembered it is never freed.
  void keep(memory_backing& memory) noexcept {
    memory.retain();
    try {
      kept_.push_back(&memory);
    } catch (std::exception const&) {
    }
  }
  /// Nothing of it is reached any more.
  void release() noexcept {
    for (memory_backing* one : kept_) one->release();
    kept_.clear();
  }
  /// What is kept now is never let go of.
  void keep_for_ever() noexcept { kept_.clear(); }

 private:
  std::vector<memory_backing*> kept_;
};

}  // namespace tether
