// SPDX-License-Identifier: BSL-1.0
// expects: harness\[1\]: this is refused
// For the checker's own tests: the sentence stands only in a comment, on the line that a compiler
// would echo.
int harness = undeclared;  // harness[1]: this is refused
