// SPDX-License-Identifier: BSL-1.0
// How much of a view is another view's memory: what an edit did not copy.
#pragma once

#include <tether/topology/flat_view.hpp>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace tether_test {

/// The chunks of a view, whatever groups they are in.
[[nodiscard]] inline std::vector<tether::detail::chunk_pointer> chunks_of(
    tether::flat_view const& view) {
  std::vector<tether::detail::chunk_pointer> all;
  for (auto const& group : view.groups())
    all.insert(all.end(), group->chunks().begin(), group->chunks().end());
  return all;
}

/// How many sections of `one` lie in chunks that `other` has too.
[[nodiscard]] inline std::size_t sections_shared(tether::flat_view const& one,
                                                 tether::flat_view const& other) {
  std::size_t shared = 0;
  const auto others = chunks_of(other);
  for (auto const& chunk : chunks_of(one)) {
    if (std::ranges::find(others, chunk) != others.end()) shared += chunk->size();
  }
  return shared;
}

}  // namespace tether_test
