// SPDX-License-Identifier: BSL-1.0
#include <tether/core/detail/list_link.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <vector>

namespace runtime_core_detail_list_link {

namespace {

struct element : tether::detail::list_link<element> {};

std::vector<element const*> all(element const* newest) {
  std::vector<element const*> found;
  for (; newest != nullptr; newest = newest->older()) found.push_back(newest);
  return found;
}

}  // namespace

TEST_CASE("elements stand in a list newest first, whoever leaves, in any order") {
  std::array<unsigned, 3> order{0, 1, 2};
  do {
    CAPTURE(order);
    element* newest = nullptr;
    std::array<element, 3> each;
    for (auto& one : each) one.join(newest);
    std::vector<element const*> expected{&each[2], &each[1], &each[0]};
    CHECK(all(newest) == expected);
    for (const unsigned one : order) {
      each[one].leave();
      std::erase(expected, &each[one]);
      CHECK(all(newest) == expected);
      each[one].leave();  // it is in none
      CHECK(all(newest) == expected);
    }
    each[1].join(newest);
    CHECK(all(newest) == std::vector<element const*>{&each[1]});
  } while (std::ranges::next_permutation(order).found);
}

}  // namespace runtime_core_detail_list_link
