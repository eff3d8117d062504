// SPDX-License-Identifier: BSL-1.0
// expects: (use of deleted function|attempt to use a deleted function)
#include <tether/inhibit/discard_gate.hpp>

// A hold without a name is given back at the end of the condition, before anything is pinned.
void pin_under(tether::discard_gate<>& gate, void (*pin)());
void pin_under(tether::discard_gate<>& gate, void (*pin)()) {
#ifdef TETHER_CONTROL
  if (const auto hold = gate.hold(tether::hold_kind::any, "nic")) pin();
#else
  if (gate.hold(tether::hold_kind::any, "nic")) pin();
#endif
}
