// SPDX-License-Identifier: BSL-1.0
#define FMT_HEADER_ONLY  // so that nothing is to be linked
#include <tether/fmt.hpp>

#include <doctest/doctest.h>

namespace runtime_fmt {

using namespace tether;

TEST_CASE("{fmt} prints what text_of says, with a string's width") {
  CHECK(fmt::format("{}", guest_address{0x1000}) == "guest physical 0x1000");
  CHECK(fmt::format("{:>24}|", guest_address{0x1000}) == "   guest physical 0x1000|");
  CHECK(fmt::format("{}", extent<io_address>{io_address{0}, io_address{4095}}) ==
        "I/O virtual [0x0, 0xfff]");
  const section one{.where = {guest_address{0}, guest_address{0xffff}}, .name = "dimm"};
  CHECK(fmt::format("{}", one) == text_of(one));
  const error why{"map", errc::over_budget};
  CHECK(fmt::format("{}", why) == why.sentence());
  CHECK(fmt::format("{}", discard_report{}) == "0 requested");
}

}  // namespace runtime_fmt
