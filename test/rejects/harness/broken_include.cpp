// SPDX-License-Identifier: BSL-1.0
// expects: harness\[1\]: this is refused
// For the checker's own tests: it fails, but because of an include.
#include <harness/there_is_no_such_header.hpp>
static_assert(sizeof(int) == 1, "harness[1]: this is refused");
