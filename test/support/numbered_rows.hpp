// SPDX-License-Identifier: BSL-1.0
// Numbered rows of an interval table, and whether a table holds exactly these.
#pragma once

#include <tether/backend/detail/chunked_rows.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <set>

namespace tether_test::numbered_rows {

using tether::extent;
using tether::io_address;
using rows = tether::detail::chunked_rows<std::uint64_t>;

/// Two addresses for each number, and none between them.
inline extent<io_address> nth(std::uint64_t number) {
  return {io_address{number * 4}, io_address{number * 4 + 1}};
}
inline std::size_t row_of(rows const& all, std::uint64_t number) {
  const std::size_t row = all.at_or_before(number * 4);
  REQUIRE(row != rows::none);
  REQUIRE(all.first(row) == number * 4);
  return row;
}
/// Whether the rows are these, in this order, each with its entry.
inline bool holds(rows const& all, std::set<std::uint64_t> const& wanted) {
  std::size_t row = 0;
  for (const std::uint64_t number : wanted) {
    if (row == all.all().to || all.first(row) != number * 4 || all.last(row) != number * 4 + 1 ||
        all.entry(row) != number) {
      return false;
    }
    row = all.next(row);
  }
  return row == all.all().to && all.size() == wanted.size();
}

}  // namespace tether_test::numbered_rows
