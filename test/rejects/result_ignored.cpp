// SPDX-License-Identifier: BSL-1.0
// expects: ignoring return(ed)? value|nodiscard
#include <tether/core/error.hpp>

#pragma GCC diagnostic error "-Wunused-result"

tether::error last_error();

void ignore() {
#ifdef TETHER_CONTROL
  const tether::error kept = last_error();
  static_cast<void>(kept);
#else
  last_error();
#endif
}
