// SPDX-License-Identifier: BSL-1.0
// expects: tether\[T1\]: this container, balloon or page reporting and its gate
#include <tether/discard/page_reporting.hpp>

#ifdef TETHER_CONTROL
using threading = tether::single_threaded;
#else
using threading = tether::multi_threaded;
#endif

void report(tether::address_space const& guest,
            tether::discard_gate<tether::single_threaded>& gate);
void report(tether::address_space const& guest,
            tether::discard_gate<tether::single_threaded>& gate) {
  tether::page_reporting<threading> pages{guest, gate};
  static_cast<void>(pages.report({}));
}
