// SPDX-License-Identifier: BSL-1.0
// expects: harness\[1\]: this is refused
// For the checker's own tests: it is refused for the expected reason, but would be without the
// misuse as well.
static_assert(sizeof(int) == 1, "harness[1]: this is refused");
