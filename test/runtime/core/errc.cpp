// SPDX-License-Identifier: BSL-1.0
#include <tether/core/errc.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <ostream>
#include <set>
#include <string>
#include <system_error>

namespace runtime_core_errc {

using tether::errc;

TEST_CASE("every cause has a message of its own") {
  std::set<std::string> seen;
  for (int cause = static_cast<int>(errc::invalid_extent);
       cause <= static_cast<int>(errc::wrong_kind); ++cause) {
    const std::string message = make_error_code(static_cast<errc>(cause)).message();
    CAPTURE(cause);
    CHECK_FALSE(message.empty());
    CHECK(message != "unknown cause");
    CHECK(seen.insert(message).second);
  }
  CHECK(make_error_code(static_cast<errc>(9999)).message() == "unknown cause");
}

TEST_CASE("a cause is an error code that no errno equals") {
  const std::error_code cause = errc::not_aligned;
  CHECK(cause == errc::not_aligned);
  CHECK(cause != errc::overlaps);
  CHECK(cause.category().name() == std::string{"tether"});
  CHECK(static_cast<bool>(cause));
  CHECK(cause != std::error_code(cause.value(), std::generic_category()));
  CHECK(cause != std::error_condition(cause.value(), std::generic_category()));
}

TEST_CASE("every cause is one of the standard library's conditions, and none is what tether asks") {
  for (int cause = static_cast<int>(errc::invalid_extent);
       cause <= static_cast<int>(errc::wrong_kind); ++cause) {
    const std::error_code code = make_error_code(static_cast<errc>(cause));
    CAPTURE(cause);
    CHECK(code.default_error_condition().category() == std::generic_category());
    CHECK(code != std::errc::no_such_file_or_directory);
    CHECK(code != std::errc::resource_deadlock_would_occur);
  }
  CHECK(make_error_code(errc::still_in_use) == std::errc::device_or_resource_busy);
  CHECK(make_error_code(errc::unsupported) == std::errc::not_supported);
  CHECK(make_error_code(errc::not_aligned) == std::errc::invalid_argument);
  CHECK(make_error_code(errc::over_budget) != std::errc::invalid_argument);
}

}  // namespace runtime_core_errc
