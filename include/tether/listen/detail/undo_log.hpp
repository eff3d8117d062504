// SPDX-License-Identifier: BSL-1.0
// How far a commit has got, and its rollback. Because a mapping is a function of its section
// (law 13), two counters are the whole log; nothing is allocated, nothing can be missing from it.
//
//     removed   |xxxxxxxx|xxxxxxxx|   unmapped: 2     rollback: 1. unmap what was added
//     added     |########|####        mapped: 1                 2. map what was removed
#pragma once

#include <tether/version.hpp>

#include <cstddef>

namespace tether::detail {

/// Counts what was done; `unwind` rolls it back latest first.
struct undo_log {
  std::size_t unmapped = 0;
  std::size_t mapped = 0;

  /// Calls `unmap(i)` for each addition done, then `map(i)` for each removal done, latest first.
  /// Each returns whether it succeeded; all are tried. Ensures: the log is empty. Returns whether
  /// all succeeded.
  template <class Unmap, class Map>
  [[nodiscard]] constexpr bool unwind(Unmap unmap, Map map) noexcept {
    bool all = true;
    while (mapped != 0) all = unmap(--mapped) && all;
    while (unmapped != 0) all = map(--unmapped) && all;
    return all;
  }
};

}  // namespace tether::detail
