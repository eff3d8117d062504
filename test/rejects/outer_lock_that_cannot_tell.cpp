// SPDX-License-Identifier: BSL-1.0
// expects: tether\[T3\]: the lock of externally_serialised needs
#include <tether/inhibit/discard_gate.hpp>

// A lock that is said to be held must be able to say so.
struct big_lock {
#ifdef TETHER_CONTROL
  static bool is_held() noexcept;
#endif
};

using gate_type = tether::discard_gate<tether::externally_serialised<big_lock>>;

void drain(gate_type& gate);
void drain(gate_type& gate) {
  if (const auto permit = gate.permit(tether::discard_kind::uncoordinated)) return;
  if (const auto hold = gate.hold(tether::hold_kind::any, "nic")) return;
}
