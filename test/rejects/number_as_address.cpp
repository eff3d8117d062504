// SPDX-License-Identifier: BSL-1.0
// expects: (could not convert|no viable conversion|conversion from).*address
// errors: [12]
#include <tether/core/address.hpp>

#ifdef TETHER_CONTROL
constexpr tether::host_address at{4096};
#else
constexpr tether::host_address at = 4096;
#endif
