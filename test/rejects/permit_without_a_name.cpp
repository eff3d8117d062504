// SPDX-License-Identifier: BSL-1.0
// expects: (use of deleted function|attempt to use a deleted function)
#include <tether/inhibit/discard_gate.hpp>

// A permit without a name ends with the condition, before anything is discarded.
void give(tether::discard_gate<>& gate, void (*discard)());
void give(tether::discard_gate<>& gate, void (*discard)()) {
#ifdef TETHER_CONTROL
  if (const auto permit = gate.permit(tether::discard_kind::uncoordinated)) discard();
#else
  if (gate.permit(tether::discard_kind::uncoordinated)) discard();
#endif
}
