// SPDX-License-Identifier: BSL-1.0
// Discards memory under a permit of a private gate: for tests of what a discard does, not of when
// one may run.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/inhibit/discard_gate.hpp>

namespace tether_test {

/// `memory`: a RAM block or its backing. Answers what `discard` does.
template <class Memory>
tether::result<void> discard_freely(Memory& memory, tether::extent<tether::block_offset> what) {
  tether::discard_gate<> nobody_holds;
  const auto permit = nobody_holds.permit(tether::discard_kind::uncoordinated);
  return memory.discard(what, permit);
}

}  // namespace tether_test
