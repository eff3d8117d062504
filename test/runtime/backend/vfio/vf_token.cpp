// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/vfio/vf_token.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

namespace runtime_backend_vfio_vf_token {

using namespace tether;
using tether_test::must;

TEST_CASE("a token is the UUID that was written, as text and as bytes in the order of the text") {
  const std::string text = "00112233-4455-6677-8899-aAbBcCdDeEfF";
  const auto token = must(vf_token::of(text));
  CHECK(token.text() == text);
  CHECK(token.bytes() == std::array<std::uint8_t, 16>{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66,
                                                      0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd,
                                                      0xee, 0xff});
}

TEST_CASE("what is no UUID is refused, whatever else it says") {
  const std::string good = "00112233-4455-6677-8899-aabbccddeeff";
  for (std::size_t i = 0; i < good.size(); ++i) {
    CAPTURE(i);
    auto bad = good;
    bad[i] = bad[i] == '-' ? '0' : '-';
    CHECK(vf_token::of(bad).error().is_errno(EINVAL));
    for (const char other : {' ', 'g', '/', ':', '@', 'G', '`', '\0', '\xff'}) {
      bad[i] = other;
      CHECK(!vf_token::of(bad));
    }
    CHECK(!vf_token::of(good.substr(0, i)));
  }
  CHECK(!vf_token::of(good + "0"));
  CHECK(!vf_token::of(good + " x=y"));
  CHECK(vf_token::of("token").error().sentence().find("UUID") != std::string::npos);
}

}  // namespace runtime_backend_vfio_vf_token
