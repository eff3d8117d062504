// SPDX-License-Identifier: BSL-1.0
#include <tether/core/detail/iova_tiles.hpp>

#include <support/failing_allocation.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace runtime_core_detail_iova_tiles {

using namespace tether::detail;

namespace {

constexpr auto any = [](iova_tile const&) { return true; };

/// `count` runs of 16 bytes, every other one taken, but for one of 160 bytes: that is free.
iova_tiles many(std::uint64_t count, std::uint64_t large) {
  iova_tiles all;
  REQUIRE(all.make_room(count));
  std::uint64_t at = 0;
  for (std::uint64_t i = 0; i != count; ++i) {
    const std::uint64_t size = i == large ? 160 : 16;
    all.insert({at, at + size - 1, 0, i != large && i % 2 == 0});
    at += size;
  }
  return all;
}

}  // namespace

TEST_CASE("of all runs that are large enough the first is found, and only those are asked about") {
  for (const std::uint64_t large : {0U, 1U, 500U, 998U, 999U}) {
    const auto all = many(1000, large);
    CHECK(all.largest_free() == 160);
    std::vector<std::uint64_t> asked;
    auto const* const found = all.first_free(17, [&](iova_tile const& one) {
      asked.push_back(one.first);
      return true;
    });
    REQUIRE(found != nullptr);
    CHECK(found->first == large * 16);
    CHECK(asked == std::vector{large * 16});
    CHECK(all.first_free(161, any) == nullptr);
    CHECK(all.first_free(160, [](iova_tile const&) { return false; }) == nullptr);
    auto const* const first = all.first_free(1, any);
    REQUIRE(first != nullptr);
    CHECK(first->first == (large == 0 ? 0 : 16));
  }
}

TEST_CASE("a run is found by any of its addresses, and nothing between runs") {
  iova_tiles all;
  REQUIRE(all.make_room(3));
  constexpr std::uint64_t top = std::numeric_limits<std::uint64_t>::max();
  all.insert({16, 31, 0, false});
  all.insert({48, 63, 0, true});
  all.insert({top - 15, top, 1, false});
  for (const std::uint64_t at : {16U, 20U, 31U}) CHECK(all.find(at)->first == 16);
  CHECK(all.find(63)->first == 48);
  CHECK(all.find(top)->first == top - 15);
  for (const std::uint64_t at : {0U, 15U, 32U, 47U, 64U}) CHECK(all.find(at) == nullptr);
  all.remove({48, 63, 0, true});
  CHECK(all.find(50) == nullptr);
  CHECK(all.size() == 2);
}

TEST_CASE("what is removed makes room, and the largest free run is always known") {
  auto all = many(1000, 500);
  all.remove(*all.find(500 * 16));
  CHECK(all.largest_free() == 16);
  const std::uint64_t before = tether_test::allocations_made;
  REQUIRE(all.make_room(1));
  all.insert({500 * 16, 500 * 16 + 99, 0, false});
  CHECK(tether_test::allocations_made == before);
  CHECK(all.largest_free() == 100);
  std::uint64_t last = 0;
  std::size_t seen = 0;
  CHECK(all.each([&](iova_tile const& one) {
    CHECK((seen == 0 || one.first > last));
    last = one.last;
    ++seen;
    return true;
  }));
  CHECK(seen == 1000);
  CHECK_FALSE(all.each([&](iova_tile const& one) { return one.first < 160; }));
  while (auto const* const one = all.first_free(1, any)) all.remove(*one);
  CHECK(all.largest_free() == 0);
  CHECK(iova_tile{0, std::numeric_limits<std::uint64_t>::max(), 0, false}.free_bytes() ==
        std::numeric_limits<std::uint64_t>::max());
}

}  // namespace runtime_core_detail_iova_tiles
