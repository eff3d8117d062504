// SPDX-License-Identifier: BSL-1.0
// Memory that a device may still reach after its container is gone, and the blocks of it that were
// destroyed: they are freed when nothing reaches them any more, or by the kernel with the process.
//
//     container dropped, a view lives   keep  |-----------------------------| let_go: freed here,
//     the block                         -------------| destroyed              and not there
#pragma once

#include <tether/topology/detail/keeping.hpp>
#include <tether/topology/memory_backing.hpp>

#include <tether/core/detail/say_once.hpp>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>

namespace tether::detail {

/// Thread-safe: a container's last view may end on any thread.
class unfreed_blocks {
 public:
  /// Takes a reference for a device.
  static void keep(memory_backing& memory) noexcept {
    const std::lock_guard lock{keeping::changing};
    memory.retain();
    memory.keeping_.references += 1;
  }
  /// Drops one. With the last the memory's destroyed blocks are freed. Requires: an earlier `keep`.
  static void let_go(memory_backing& memory) noexcept {
    std::unique_lock lock{keeping::changing};
    keeping& its = memory.keeping_;
    const bool has_none = its.blocks == 0;
    its.references -= 1;
    memory.release();
    if (has_none || memory.references() != 0) return;  // without any it may be freed by now
    its.leave();
    const std::shared_ptr<memory_backing> last = std::move(its.self);
    auto blocks = std::exchange(its.blocks, 0);
    lock.unlock();  // unmapping much memory takes long
    for (; blocks != 0; --blocks) static_cast<void>(memory.remove_block(true));
  }
  /// Takes the memory of a block called `name` over, if nothing but devices refers to it.
  [[nodiscard]] static bool take(std::shared_ptr<memory_backing> const& memory,
                                 std::string_view name) noexcept {
    const std::lock_guard lock{keeping::changing};
    keeping& its = memory->keeping_;
    if (its.references == 0 || its.references != memory->references()) return false;
    if (its.blocks++ == 0) {
      its.self = memory;
      its.join(keeping::newest);
    }
    say_once(
        "tether[R3]: a RAM block was destroyed while a device of a container that is gone may "
        "still reach its memory, which is kept until that has ended, or the process has: destroy "
        "BAR views before containers, and containers before blocks",
        name);
    return true;
  }

  /// Whether a block's memory is the parent's, in a child of a fork: then it is left alone, and no
  /// lock waited for.
  [[nodiscard]] static bool is_parents(std::shared_ptr<memory_backing> const& memory) noexcept {
    if (!memory->keeping_.made_by.is_inherited()) return false;
    if (memory->registry_ != nullptr) memory->keeping_.self = memory;  // the registry has it still
    return true;
  }
};

}  // namespace tether::detail
