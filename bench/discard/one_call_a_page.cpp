// SPDX-License-Identifier: BSL-1.0
// What QEMU's balloon does: a call for each page.
#include <discard/discard.hpp>

#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <span>
#include <sys/mman.h>

namespace {

[[gnu::noinline]] void give(discard::subject const& of, std::span<std::uint32_t const> numbers) {
  for (const std::uint32_t one : numbers) {
    const std::size_t offset = one * discard::page;
    const int done = of.file() >= 0
                         ? ::fallocate(of.file(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                       static_cast<off_t>(offset), discard::page)
                         : ::madvise(of.block.data() + offset, discard::page, MADV_DONTNEED);
    discard::expect(done == 0, "discard: ");
  }
}

const bench::side<discard::subject> entered{"one call a page (QEMU)", [](discard::subject& of) {
                                              return discard::gives_back(
                                                  of, [&of](auto numbers) { give(of, numbers); });
                                            }};

}  // namespace
