// SPDX-License-Identifier: BSL-1.0
// The interval table when memory is short: an insertion changes nothing, and one that puts back
// what was there before never needs any, because rollback runs through it.
#include <tether/backend/detail/chunked_rows.hpp>

#include <support/failing_allocation.hpp>
#include <support/numbered_rows.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

namespace scenario_table_out_of_memory {

using namespace tether;
using namespace tether::detail;
using tether_test::numbered_rows::holds;
using tether_test::numbered_rows::nth;
using tether_test::numbered_rows::row_of;
using tether_test::numbered_rows::rows;

TEST_CASE("what was removed can be inserted again without an allocation, in any order") {
  if (!tether_test::allocations_can_fail) return tether_test::cannot_fail_allocations();
  for (const std::uint64_t count : {1U, 47U, 64U, 65U, 129U, 1000U, 5000U}) {
    CAPTURE(count);
    std::mt19937_64 random{count};
    rows all;
    std::vector<std::uint64_t> numbers(count);
    for (std::uint64_t i = 0; i != count; ++i) numbers[i] = i;
    for (const std::uint64_t number : numbers)
      REQUIRE(all.insert(nth(number), number) != rows::none);
    for (int turn = 0; turn != 6; ++turn) {
      // All but every 50th goes, and comes again where the chunks have been joined meanwhile.
      std::ranges::shuffle(numbers, random);
      const std::size_t kept = turn % 2 == 0 ? count / 50 : count / 2;
      for (std::size_t i = kept; i != count; ++i) {
        const std::size_t row = row_of(all, numbers[i]);
        all.erase({row, all.next(row)});
      }
      if (turn % 3 == 0)
        std::ranges::sort(numbers.begin() + static_cast<std::ptrdiff_t>(kept), numbers.end());
      tether_test::failing_allocation = 1;
      bool inserted = true;
      for (std::size_t i = kept; i != count; ++i)
        inserted = all.insert(nth(numbers[i]), numbers[i]) != rows::none && inserted;
      const bool none_failed = tether_test::failing_allocation == 1;
      tether_test::failing_allocation = 0;
      CHECK(inserted);
      CHECK(none_failed);
      CHECK(holds(all, {numbers.begin(), numbers.end()}));
    }
  }
}

TEST_CASE("an insertion that finds no memory changes nothing, whichever allocation fails") {
  if (!tether_test::allocations_can_fail) return tether_test::cannot_fail_allocations();
  for (std::uint64_t n = 1; n != 5; ++n) {
    rows all;
    std::set<std::uint64_t> reference;
    for (std::uint64_t number = 0; number != 300; ++number) {
      tether_test::failing_allocation = n;
      const bool inserted = all.insert(nth(number), number) != rows::none;
      const bool failed = tether_test::failing_allocation == 0;
      tether_test::failing_allocation = 0;
      REQUIRE(inserted == !failed);
      if (inserted) reference.insert(number);
    }
    CHECK(holds(all, reference));
  }
}

}  // namespace scenario_table_out_of_memory
