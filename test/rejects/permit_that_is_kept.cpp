// SPDX-License-Identifier: BSL-1.0
// expects: (use of deleted function|call to implicitly-deleted copy constructor|call to deleted constructor).*permit_guard
// errors: [12]
#include <tether/inhibit/discard_gate.hpp>

#include <utility>

// A permit is given back on the thread that took it, at the end of its scope.
void keep(tether::discard_gate<>& gate);
void keep(tether::discard_gate<>& gate) {
  auto permit = gate.permit(tether::discard_kind::uncoordinated);
#ifdef TETHER_CONTROL
  static_cast<void>(static_cast<bool>(permit));
#else
  auto kept = std::move(permit);
#endif
}
