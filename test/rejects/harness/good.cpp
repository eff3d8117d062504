// SPDX-License-Identifier: BSL-1.0
// expects: harness\[1\]: this is refused
// For the checker's own tests: a reject as it should be.
#ifdef TETHER_CONTROL
static_assert(true, "harness[1]: this is refused");
#else
static_assert(sizeof(int) == 1, "harness[1]: this is refused");
#endif
