// SPDX-License-Identifier: BSL-1.0
// expects: harness\[1\]: this is refused
// For the checker's own tests: a reject that refuses nothing.
static_assert(true, "harness[1]: this is refused");
