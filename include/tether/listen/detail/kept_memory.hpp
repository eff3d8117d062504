// SPDX-License-Identifier: BSL-1.0
// Memory that could not be unmapped although its section is gone: a device may still reach it, so
// it must not be freed.
#pragma once

#include <tether/topology/memory_backing.hpp>

#include <cstddef>
#include <exception>
#include <vector>

namespace tether::detail {

/// Holds a reference to each piece of memory until `release` or destruction. Not thread-safe.
class kept_memory {
 public:
  kept_memory() = default;
  kept_memory(kept_memory const&) = delete;
  kept_memory& operator=(kept_memory const&) = delete;
  ~kept_memory() { release(); }

  /// Reserves room for `count` in all, so that `keep` need not allocate. False: out of memory.
  [[nodiscard]] bool reserve(std::size_t count) noexcept try {
    kept_.reserve(count);
    return true;
  } catch (std::exception const&) {
    return false;
  }
  /// Takes a reference. If it cannot be recorded, the memory is never freed.
  void keep(memory_backing& memory) noexcept {
    memory.retain();
    try {
      kept_.push_back(&memory);
    } catch (std::exception const&) {}
  }
  /// Drops the references. Requires: no device reaches the memory any more.
  void release() noexcept {
    for (memory_backing* one : kept_) one->release();
    kept_.clear();
  }
  /// Never frees what is kept now.
  void keep_for_ever() noexcept { kept_.clear(); }

 private:
  std::vector<memory_backing*> kept_;
};

}  // namespace tether::detail
