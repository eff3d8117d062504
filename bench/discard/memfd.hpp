// SPDX-License-Identifier: BSL-1.0
// What the sides that punch holes in a file, each in its own way, have in common.
#pragma once

#include <discard/discard.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <fcntl.h>
#include <memory>
#include <span>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utility>

namespace discard {

inline constexpr int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

/// A side of memfd alone. `Way` is made once, and called with the numbers of one request.
template <class Way>
bench::sample only_of_memfd(subject& of, clockid_t whose = CLOCK_THREAD_CPUTIME_ID) {
  if (of.of != memory::memfd) return {};
  auto way = std::make_shared<Way>();
  of.refill();
  way->give(of, std::span{of.pages}.first(1));  // whether this machine lets it run
  return gives_back(of, [&of, way](auto numbers) { way->give(of, numbers); }, request, whose);
}

/// process_madvise of ourselves over the pages of a request.
[[gnu::noinline]] inline void advise_all(subject const& of, std::span<std::uint32_t const> numbers,
                                         int what) {
  constexpr int self = -10000;  // PIDFD_SELF_THREAD, Linux 6.15
  std::array<iovec, request> ranges{};
  for (std::size_t i = 0; i != numbers.size(); ++i)
    ranges[i] = {of.block.data() + numbers[i] * page, page};
  const auto done = ::syscall(SYS_process_madvise, self, ranges.data(), numbers.size(), what, 0U);
  expect(std::cmp_equal(done, numbers.size() * page), "process_madvise: ");
}

}  // namespace discard
