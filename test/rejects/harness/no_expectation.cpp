// SPDX-License-Identifier: BSL-1.0
// For the checker's own tests: nobody says what to expect, so anything would do.
static_assert(sizeof(int) == 1, "harness[1]: this is refused");
