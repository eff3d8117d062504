// SPDX-License-Identifier: BSL-1.0
// One of two translation units that include everything; the category's address shows that they
// share it.
#include <tether/proof.hpp>
#include <tether/testing.hpp>
#include <tether/tether.hpp>

#include <cstdio>

std::error_category const* category_of_the_second() noexcept;

int main() {
  if (&tether::make_error_code(tether::errc::overlaps).category() == category_of_the_second())
    return 0;
  std::puts("the two translation units have an error category each");
  return 1;
}
