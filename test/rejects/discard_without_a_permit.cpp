// SPDX-License-Identifier: BSL-1.0
// expects: (no matching function for call|too few arguments)
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/ram_block.hpp>

// Memory may be pinned, so discarding it takes a gate's permit.
void give_back(tether::ram_block& ram, tether::discard_gate<>& gate);
void give_back(tether::ram_block& ram, tether::discard_gate<>& gate) {
  const tether::extent<tether::block_offset> all{tether::block_offset{0},
                                                 tether::block_offset{ram.size() - 1}};
  const auto permit = gate.permit(tether::discard_kind::uncoordinated);
#ifdef TETHER_CONTROL
  static_cast<void>(ram.discard(all, permit));
#else
  static_cast<void>(permit ? ram.discard(all) : tether::result<void>{});
#endif
}
