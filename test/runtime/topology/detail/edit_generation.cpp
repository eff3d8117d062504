// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/edit_generation.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <thread>
#include <vector>

namespace runtime_topology_detail_edit_generation {

using tether::detail::edit_generation;

TEST_CASE("every block and every edit gets a number that none had before") {
  std::set<std::uint64_t> seen;
  std::optional<edit_generation> at_one_address;
  for (int block = 0; block < 10; ++block) {
    at_one_address.emplace();
    CHECK(seen.insert(at_one_address->number()).second);
    at_one_address->begin_edit();
    CHECK(at_one_address->edit_under_way());
    CHECK(seen.insert(at_one_address->number()).second);
    at_one_address->begin_edit();  // by another address space
    CHECK(seen.insert(at_one_address->number()).second);
    at_one_address->end_edit();
    CHECK(at_one_address->edit_under_way());
    at_one_address->end_edit();
    CHECK_FALSE(at_one_address->edit_under_way());
  }
  CHECK(seen.count(0) == 0);
}

TEST_CASE("threads that edit at once get different numbers") {
  std::array<std::vector<std::uint64_t>, 2> drawn;
  std::array<std::thread, 2> threads;
  for (std::size_t i = 0; i < 2; ++i) {
    threads[i] = std::thread{[&mine = drawn[i]] {
      edit_generation one;
      for (int edit = 0; edit < 10'000; ++edit) {
        one.begin_edit();
        mine.push_back(one.number());
        one.end_edit();
      }
    }};
  }
  for (auto& one : threads) one.join();
  std::set<std::uint64_t> all{drawn[0].begin(), drawn[0].end()};
  all.insert(drawn[1].begin(), drawn[1].end());
  CHECK(all.size() == 20'000);
}

}  // namespace runtime_topology_detail_edit_generation
