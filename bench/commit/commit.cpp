// SPDX-License-Identifier: BSL-1.0
// The races of this question.
#include <commit/commit.hpp>

#include <array>
#include <cstdint>
#include <memory>
#include <string>

namespace {

template <class Subject>
void race_of(char const* panel, char const* unit) {
  for (const auto count : std::to_array<std::uint64_t>({10, 100, 1'000, 10'000, 100'000})) {
    bench::race<Subject>(std::string{"commit/"} + panel + "/sections:" + std::to_string(count),
                         unit, [count] { return std::make_unique<Subject>(Subject{count}); });
  }
}

}  // namespace

void bench::register_races() {
  race_of<commit::one_of>("place one more of N, and remove it", "ns both");
  race_of<commit::all_of>("replace N in one commit", "ns a section");
  race_of<commit::detach_of>("detach from N", "ns a section");
}
