// SPDX-License-Identifier: BSL-1.0
// The limit: one call over all pages, where they lie side by side. No guest asks for that.
#include <discard/discard.hpp>

#include <cstddef>
#include <fcntl.h>
#include <sys/mman.h>

namespace {

[[gnu::noinline]] void give(discard::subject const& of) {
  const std::size_t bytes = of.pages.size() * discard::page;
  const int done = of.file() >= 0
                       ? ::fallocate(of.file(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                                     static_cast<off_t>(bytes))
                       : ::madvise(of.block.data(), bytes, MADV_DONTNEED);
  discard::expect(done == 0, "discard: ");
}

const bench::side<discard::subject> entered{
    "one call over all", [](discard::subject& of) -> bench::sample {
      if (of.in == discard::order::strided || of.in == discard::order::random) return {};
      return discard::gives_back(of, [&of](auto) { give(of); }, of.pages.size());
    }};

}  // namespace
