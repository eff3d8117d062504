// SPDX-License-Identifier: BSL-1.0
// expects: (constraints not satisfied|constraint failure)
#include <tether/inhibit/threading.hpp>

// A lock that is said to be held must be able to say so.
struct big_lock {
#ifdef TETHER_CONTROL
  static bool is_held() noexcept;
#endif
};

using gate_threading = tether::externally_serialised<big_lock>;
using mutex = gate_threading::mutex;
