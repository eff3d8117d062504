// SPDX-License-Identifier: BSL-1.0
// The 256 pages of a request sorted, and a hole punched for each run of neighbours.
#include <discard/memfd.hpp>

#include <algorithm>

namespace {

struct way {
  [[gnu::noinline]] void give(discard::subject const& of, std::span<std::uint32_t const> numbers) {
    const auto end = std::ranges::copy(numbers, sorted.begin()).out;
    std::sort(sorted.begin(), end);
    for (auto at = sorted.begin(); at != end;) {
      auto next = at + 1;
      while (next != end && *next == *(next - 1) + 1) ++next;
      const auto first = static_cast<off_t>(*at * discard::page);
      const auto bytes = (next - at) * static_cast<off_t>(discard::page);
      discard::expect(::fallocate(of.file(), discard::punch, first, bytes) == 0, "fallocate: ");
      at = next;
    }
  }
  std::array<std::uint32_t, discard::request> sorted{};
};

const bench::side<discard::subject> entered{"sorted, a hole a run", [](discard::subject& of) {
  return discard::only_of_memfd<way>(of);
}};

}  // namespace
