// SPDX-License-Identifier: BSL-1.0
// The worst possible balloon: whenever the gate permits it discards all of the guest's memory, and
// the guest touches all of it again. A frame that was pinned meanwhile stays with the device; the
// CPU gets another one.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/extent.hpp>
#include <tether/inhibit/kinds.hpp>
#include <tether/topology/ram_block.hpp>

namespace tether_test {

/// Strikes once. `blocks` are pointers to RAM blocks; `let_in()` is called if the gate permits the
/// discard, `guest()` after it. Answers whether it was permitted.
template <class Gate, class Blocks, class LetIn, class Guest>
bool strike(Gate& gate, Blocks const& blocks, LetIn let_in, Guest guest) {
  const auto permit = gate.permit(tether::discard_kind::uncoordinated);
  if (!permit) return false;
  let_in();
  for (tether::ram_block* const one : blocks) {
    static_cast<void>(
        one->discard({tether::block_offset{0}, tether::block_offset{one->size() - 1}}, permit));
  }
  guest();
  return true;
}

}  // namespace tether_test
