// SPDX-License-Identifier: BSL-1.0
// For a test that cannot run here (no huge pages, io_uring forbidden): it says why, and returns.
// The test then counts as skipped, not as passed, and test/run prints the reason.
//
//     if (!ring) return tether_test::skip_because(ring.error().sentence());
#pragma once

#include <cstdio>
#include <string>

namespace tether_test {

/// Whether a test of this process was skipped.
inline bool& skipped() noexcept {
  static bool any = false;
  return any;
}

/// Ensures: the process answers 77 unless something else in it fails.
inline void skip_because(std::string const& reason) {
  skipped() = true;
  std::printf("skipped: %s\n", reason.c_str());
  std::fflush(stdout);
}

}  // namespace tether_test
