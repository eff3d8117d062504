// SPDX-License-Identifier: BSL-1.0
// MADV_REMOVE of each page: a hole in the file, through its mapping.
#include <discard/memfd.hpp>

namespace {

struct way {
  [[gnu::noinline]] void give(discard::subject const& of, std::span<std::uint32_t const> numbers) {
    for (const std::uint32_t one : numbers)
      discard::expect(
          ::madvise(of.block.data() + one * discard::page, discard::page, MADV_REMOVE) == 0,
          "madvise: ");
  }
};

const bench::side<discard::subject> entered{"MADV_REMOVE a page", [](discard::subject& of) {
  return discard::only_of_memfd<way>(of);
}};

}  // namespace
