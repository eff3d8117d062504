// SPDX-License-Identifier: BSL-1.0
// The least that comparing two arrays of records can take: memcmp from one difference to the next.
#include <difference/difference.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

namespace {

using difference::record;

/// Compares in pieces of 4 KiB, and record by record only where a piece differs.
[[gnu::noinline]] std::size_t between(std::vector<record> const& before,
                                      std::vector<record> const& after) {
  constexpr std::size_t piece = 4096 / sizeof(record);
  std::size_t found = 0;
  for (std::size_t at = 0; at < before.size(); at += piece) {
    const std::size_t end = std::min(at + piece, before.size());
    if (std::memcmp(&before[at], &after[at], (end - at) * sizeof(record)) == 0) continue;
    for (std::size_t i = at; i != end; ++i) found += before[i] == after[i] ? 0U : 2U;
  }
  return found;
}

const bench::side<difference::subject> entered{
    "memcmp", [](difference::subject& of) {
      return difference::finds(of.before.size(), [&of] { return between(of.before, of.after); });
    }};

}  // namespace
