// SPDX-License-Identifier: BSL-1.0
// expects: harness\[1\]: this is refused
// For the checker's own tests: one error, behind what fills a screen.
#warning "1"
#warning "2"
#warning "3"
#warning "4"
#warning "5"
#warning "6"
#warning "7"
#warning "8"
#warning "9"
#warning "10"
static_assert(sizeof(int) == 1, "harness[1]: this is refused");
