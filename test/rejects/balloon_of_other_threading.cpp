// SPDX-License-Identifier: BSL-1.0
// expects: tether\[T1\]: this container, balloon or page reporting and its gate
#include <tether/discard/balloon.hpp>

// Without a lock where the gate's other users have threads.
#ifdef TETHER_CONTROL
using threading = tether::multi_threaded;
#else
using threading = tether::single_threaded;
#endif

void inflate(tether::address_space const& guest, tether::discard_gate<>& gate);
void inflate(tether::address_space const& guest, tether::discard_gate<>& gate) {
  tether::balloon<threading> balloon{guest, gate, {.must_tell_host = true}};
  static_cast<void>(balloon.inflate(std::span<std::uint32_t const>{}));
}
