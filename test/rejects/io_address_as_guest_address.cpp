// SPDX-License-Identifier: BSL-1.0
// expects: (could not convert|no viable conversion|conversion from).*address
// errors: [12]
#include <tether/core/address.hpp>

#ifdef TETHER_CONTROL
using given = tether::guest_address;
#else
using given = tether::io_address;
#endif

constexpr given at{4096};
constexpr tether::guest_address same = at;
