// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/file_registry.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <vector>

using tether::detail::file_registry;

TEST_CASE("what is listed is found newest first, and leaves from anywhere") {
  std::array<file_registry::entry, 4> all;
  const auto listed = [&](file_registry const& in) {
    std::vector<std::ptrdiff_t> found;
    for (auto* one = in.newest; one != nullptr; one = one->older) found.push_back(one - all.data());
    return found;
  };
  file_registry registry;
  CHECK(listed(registry).empty());
  for (auto& one : all) registry.add(one);
  CHECK(listed(registry) == std::vector<std::ptrdiff_t>{3, 2, 1, 0});
  registry.remove(all[3]);
  registry.remove(all[1]);
  CHECK(listed(registry) == std::vector<std::ptrdiff_t>{2, 0});
  registry.add(all[1]);
  registry.remove(all[0]);
  CHECK(listed(registry) == std::vector<std::ptrdiff_t>{1, 2});
  registry.remove(all[2]);
  registry.remove(all[1]);
  CHECK(listed(registry).empty());
}
