// SPDX-License-Identifier: BSL-1.0
// The list of the shared files that are mapped now, so that one which is received again is found. Linked through what it lists: it
// never allocates, so it never fails.
#pragma once

#include <mutex>

namespace tether::detail {

/// Everything in it, and the entries' own links, only under `changing`.
struct file_registry {
  /// What can be listed, in one registry at most.
  struct entry {
    entry* older = nullptr;
  };

  std::mutex changing{};
  entry* newest = nullptr;

  void add(entry& one) noexcept {
    one.older = newest;
    newest = &one;
  }
  /// Requires: it is in this registry.
  void remove(entry& one) noexcept {
    entry** at = &newest;
    while (*at != &one) at = &(*at)->older;
    *at = one.older;
  }
};

}  // namespace tether::detail
