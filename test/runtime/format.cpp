// SPDX-License-Identifier: BSL-1.0
#include <tether/format.hpp>

#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <version>

namespace runtime_format {

using namespace tether;

TEST_CASE("std::format prints what text_of says, with a string's width") {
#if defined(__cpp_lib_format)
  CHECK(std::format("{}", guest_address{0x1000}) == "guest physical 0x1000");
  CHECK(std::format("{:>24}|", guest_address{0x1000}) == "   guest physical 0x1000|");
  const error why{"map", errc::over_budget};
  CHECK(std::format("{}", why) == why.sentence());
  CHECK(std::format("{}", discard_report{}) == "0 requested");
#else
  tether_test::skip_because("this standard library has no std::format (__cpp_lib_format)");
#endif
}

}  // namespace runtime_format
