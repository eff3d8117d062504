// SPDX-License-Identifier: BSL-1.0
// Memory that could not be unmapped although its section is gone: a device may still reach it, so
// it must not be freed, nor units of it discarded.
#pragma once

#include <tether/core/detail/exceptions.hpp>
#include <tether/topology/detail/unfreed_blocks.hpp>
#include <tether/topology/memory_backing.hpp>
#include <tether/topology/population.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>
#include <vector>

namespace tether::detail {

/// Holds a reference to each piece of memory until `release` or destruction. Not thread-safe.
class kept_memory {
 public:
  kept_memory() = default;
  kept_memory(kept_memory&& other) noexcept
      : kept_{std::exchange(other.kept_, {})}, units_{std::exchange(other.units_, {})} {}
  kept_memory(kept_memory const&) = delete;
  kept_memory& operator=(kept_memory const&) = delete;
  ~kept_memory() { release(); }

  /// Reserves room for `count` in all, so that `keep` need not allocate. False: out of memory.
  [[nodiscard]] bool reserve(std::size_t count) noexcept {
    TETHER_TRY {
      kept_.reserve(count);
      return true;
    }
    TETHER_CATCH(std::exception const&) { return false; }
  }
  /// Takes a reference. If it cannot be recorded, the memory is never freed.
  void keep(memory_backing& memory) noexcept {
    unfreed_blocks::keep(memory);
    TETHER_TRY { kept_.push_back(&memory); }
    TETHER_CATCH(std::exception const&) {}
  }
  /// Keeps a unit of such memory from being discarded; if that cannot be recorded, for ever.
  /// Requires: the memory is kept, too.
  void keep_unit(population& of, std::uint64_t which) noexcept {
    of.keep(which);
    TETHER_TRY { units_.push_back({&of, which}); }
    TETHER_CATCH(std::exception const&) {}
  }
  /// Drops the references. Requires: no device reaches the memory any more.
  void release() noexcept {
    for (auto const& [of, which] : units_) of->let_go(which);
    units_.clear();
    for (memory_backing* one : kept_) unfreed_blocks::let_go(*one);
    kept_.clear();
  }
  /// Never frees or discards what is kept now.
  void keep_for_ever() noexcept {
    kept_.clear();
    units_.clear();
  }

 private:
  struct kept_unit {
    population* of;
    std::uint64_t which;
  };

  std::vector<memory_backing*> kept_;
  std::vector<kept_unit> units_;
};

}  // namespace tether::detail
