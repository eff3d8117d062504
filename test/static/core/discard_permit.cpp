// SPDX-License-Identifier: BSL-1.0
#include <tether/core/discard_permit.hpp>

#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/ram_block.hpp>

#include <type_traits>

using namespace tether;

// Nobody but a gate makes one, and it is neither kept nor handed on.
static_assert(!std::is_default_constructible_v<discard_permit> &&
              !std::is_constructible_v<discard_permit, gate_id>);
static_assert(!std::is_copy_constructible_v<discard_permit> &&
              !std::is_move_constructible_v<discard_permit>);
static_assert(std::is_base_of_v<discard_permit, discard_gate<>::permit_guard>);

// Memory is not discarded without one.
template <class Memory, class... Leave>
concept discards = requires(Memory& memory, extent<block_offset> what, Leave const&... leave) {
  memory.discard(what, leave...);
};
static_assert(discards<ram_block, discard_gate<>::permit_guard> &&
              discards<memory_backing, discard_permit>);
static_assert(!discards<ram_block> && !discards<memory_backing> && !discards<ram_block, bool>);
