// SPDX-License-Identifier: BSL-1.0
// expects: harness\[1\]: this is refused
// For the checker's own tests: the sentence is there, behind an error that hides it.
int undeclared_first = undeclared;
static_assert(sizeof(int) == 1, "harness[1]: this is refused");
