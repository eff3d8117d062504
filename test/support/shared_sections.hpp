// SPDX-License-Identifier: BSL-1.0
// How much of a view is another view's memory: what an edit did not copy.
#pragma once

#include <tether/topology/flat_view.hpp>

#include <algorithm>
#include <cstddef>

namespace tether_test {

/// How many sections of `one` lie in chunks that `other` has too.
[[nodiscard]] inline std::size_t sections_shared(tether::flat_view const& one,
                                                 tether::flat_view const& other) {
  std::size_t shared = 0;
  for (auto const& chunk : one.chunks()) {
    if (std::ranges::find(other.chunks(), chunk) != other.chunks().end()) shared += chunk->size();
  }
  return shared;
}

}  // namespace tether_test
