// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/detail/branchless_search.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace runtime_backend_detail_branchless_search {

using namespace tether::detail;

namespace {

/// What the standard library finds. Requires: `all` has one that is not above `at`.
std::size_t expected(std::vector<std::uint64_t> const& all, std::uint64_t at) {
  return static_cast<std::size_t>(std::ranges::upper_bound(all, at) - all.begin()) - 1;
}

}  // namespace

TEST_CASE("whatever the length, the last address that is not above is found") {
  for (std::size_t length = 1; length <= 130; ++length) {
    CAPTURE(length);
    std::vector<std::uint64_t> all(length);
    for (std::size_t i = 0; i != length; ++i) all[i] = 10 * i;
    for (std::uint64_t at = 0; at != 10 * length + 3; ++at)
      REQUIRE(last_not_above(all.data(), length, at) == expected(all, at));
    REQUIRE(last_not_above(all.data(), length, ~std::uint64_t{0}) == length - 1);
  }
}

TEST_CASE("the steps in line find the same in as many as they are for") {
  std::vector<std::uint64_t> all(64);
  for (std::size_t i = 0; i != all.size(); ++i) all[i] = i * i;
  for (std::uint64_t at = 0; at != 64 * 64; ++at) {
    const auto* const found = narrowed<32>(all.data(), at);
    REQUIRE(static_cast<std::size_t>(found - all.data()) == expected(all, at));
  }
}

TEST_CASE("addresses are compared without a sign") {
  const std::vector<std::uint64_t> all{1, std::uint64_t{1} << 63, ~std::uint64_t{0}};
  CHECK(last_not_above(all.data(), 3, std::uint64_t{1} << 62) == 0);
  CHECK(last_not_above(all.data(), 3, (std::uint64_t{1} << 63) + 5) == 1);
  CHECK(last_not_above(all.data(), 3, ~std::uint64_t{0}) == 2);
}

}  // namespace runtime_backend_detail_branchless_search
