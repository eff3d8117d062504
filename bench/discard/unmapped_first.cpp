// SPDX-License-Identifier: BSL-1.0
// The 256 pages of a request leave the page tables in one process_madvise(MADV_DONTNEED), with one
// shootdown; then a hole is punched for each, which finds nothing mapped any more.
#include <discard/memfd.hpp>

namespace {

struct way {
  [[gnu::noinline]] void give(discard::subject const& of, std::span<std::uint32_t const> numbers) {
    discard::advise_all(of, numbers, MADV_DONTNEED);
    for (const std::uint32_t one : numbers)
      discard::expect(::fallocate(of.file(), discard::punch,
                                  static_cast<off_t>(one * discard::page), discard::page) == 0,
                      "fallocate: ");
  }
};

const bench::side<discard::subject> entered{
    "DONTNEED of 256, then a hole a page",
    [](discard::subject& of) { return discard::only_of_memfd<way>(of); }};

}  // namespace
