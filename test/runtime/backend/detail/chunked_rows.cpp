// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/detail/chunked_rows.hpp>

#include <support/numbered_rows.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <set>

namespace runtime_backend_detail_chunked_rows {

using namespace tether;
using namespace tether::detail;
using tether_test::numbered_rows::holds;
using tether_test::numbered_rows::nth;
using tether_test::numbered_rows::row_of;
using tether_test::numbered_rows::rows;

TEST_CASE("rows stay sorted and found through every split, join and spread") {
  std::mt19937_64 random{7};
  rows all;
  std::set<std::uint64_t> reference;
  for (int phase = 0; phase != 12; ++phase) {
    // Grows in even phases, shrinks in odd ones, in a part of the numbers that changes.
    const std::uint64_t from = random() % 1500;
    for (int change = 0; change != 1000; ++change) {
      const std::uint64_t number = from + random() % 1500;
      const bool there = reference.contains(number);
      if (phase % 2 == 0 && !there) {
        const std::size_t row = all.insert(nth(number), number);
        REQUIRE(row == row_of(all, number));
        reference.insert(number);
      } else if (phase % 2 == 1 && there) {
        // A run of several now and then, across chunks.
        const std::size_t row = row_of(all, number);
        std::size_t end = all.next(row);
        auto last = std::next(reference.find(number));
        for (std::uint64_t more = change % 97 == 0 ? 150 : 0; more != 0 && last != reference.end();
             --more, ++last)
          end = all.next(end);
        all.erase({row, end});
        reference.erase(reference.find(number), last);
      }
      if (change % 50 == 0) REQUIRE(holds(all, reference));
    }
    REQUIRE(holds(all, reference));
  }
  all.erase(all.all());
  CHECK(all.size() == 0);
  CHECK(all.at_or_before(std::numeric_limits<std::uint64_t>::max()) == rows::none);
  CHECK(all.insert(nth(3), 3) == 0);
}

}  // namespace runtime_backend_detail_chunked_rows
