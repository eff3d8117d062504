// SPDX-License-Identifier: BSL-1.0
// The other translation unit.
#include <tether/proof.hpp>
#include <tether/testing.hpp>
#include <tether/tether.hpp>

std::error_category const* category_of_the_second() noexcept;
std::error_category const* category_of_the_second() noexcept {
  return &tether::make_error_code(tether::errc::overlaps).category();
}
