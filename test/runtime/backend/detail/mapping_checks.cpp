// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/detail/mapping_checks.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <string>
#include <vector>

namespace runtime_backend_detail_mapping_checks {

using namespace tether;
using namespace tether::detail;

TEST_CASE("what is refused says which multiple was wanted") {
  const mapping crooked{{io_address{0x1000}, io_address{0x1fff}}, host_address{0x1000}};
  CHECK(check_shape(crooked, 0x1000));
  const auto refused = check_shape(crooked, 0x10000);
  REQUIRE(!refused);
  CHECK(refused.error().is(errc::not_aligned));
  CHECK(refused.error().sentence().find("multiples of 65536 bytes") != std::string::npos);
}

TEST_CASE("a mapping may end with the address space but not wrap around it, on either side") {
  const mapping last_page{{io_address{0 - 0x1000ULL}, io_address{0 - 1ULL}},
                          host_address{0 - 0x1000ULL}};
  CHECK(check_shape(last_page, 0x1000));
  const mapping host_wraps{{io_address{0}, io_address{0x1fff}}, host_address{0 - 0x1000ULL}};
  CHECK(check_shape(host_wraps, 0x1000).error().is(errc::invalid_extent));
  const mapping inside_out{{io_address{0x2000}, io_address{0xfff}}, host_address{0}};
  CHECK(check_shape(inside_out, 0x1000).error().is(errc::invalid_extent));
}

TEST_CASE("usable ranges that touch do not combine, and no range at all takes nothing") {
  const std::array<extent<io_address>, 2> usable{
      {{io_address{0}, io_address{0xffff}}, {io_address{0x10000}, io_address{0x1ffff}}}};
  CHECK(check_aperture({io_address{0xf000}, io_address{0xffff}}, usable));
  CHECK(check_aperture({io_address{0x10000}, io_address{0x1ffff}}, usable));
  CHECK(check_aperture({io_address{0xf000}, io_address{0x10fff}}, usable)
            .error()
            .is(errc::outside_aperture));
  CHECK(check_aperture({io_address{0}, io_address{0xfff}}, {}).error().is(errc::outside_aperture));
  CHECK(check_aperture({io_address{0x2000}, io_address{0xfff}}, usable)
            .error()
            .is(errc::invalid_extent));
  CHECK(
      check_aperture({io_address{0x1000}, io_address{0xfff}}, {}).error().is(errc::invalid_extent));
}

TEST_CASE("a kernel's one word for many causes becomes the cause") {
  const std::vector<extent<io_address>> usable{{io_address{0}, io_address{0xffff}}};
  const mapping good{{io_address{0x1000}, io_address{0x1fff}}, host_address{0x5000}};
  const auto why = [&](mapping const& what, int number) {
    return why_not_mapped<linux_kernel>(what, number, 4 * KiB, usable);
  };
  CHECK(why(good, EEXIST).is(errc::overlaps));
  CHECK(why(good, EFAULT).is(errc::memory_gone));
  CHECK(why(good, EINVAL).is_errno(EINVAL));
  CHECK(why(good, EIO).is_errno(EIO));
  for (const int number : {EINVAL, EOVERFLOW, EFAULT}) {
    CHECK(why({good.where, host_address{0x5001}}, number).is(errc::not_aligned));
    CHECK(why({{io_address{0xf000}, io_address{0x10fff}}, host_address{0}}, number)
              .is(errc::outside_aperture));
    CHECK(why({good.where, host_address{0x5000}, access::none}, number).is(errc::access_denied));
  }
}

}  // namespace runtime_backend_detail_mapping_checks
