// SPDX-License-Identifier: BSL-1.0
// One process_madvise on ourselves for the 256 pages of a request, as they come. Not for files: it
// cannot free their pages.
#include <discard/discard.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

struct own_pidfd {
  int number = static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0));
  own_pidfd() = default;
  own_pidfd(own_pidfd const&) = delete;
  own_pidfd& operator=(own_pidfd const&) = delete;
  ~own_pidfd() { ::close(number); }
};

[[gnu::noinline]] bool give(discard::subject const& of, own_pidfd const& self,
                            std::span<std::uint32_t const> numbers) {
  std::array<iovec, discard::request> ranges{};
  for (std::size_t i = 0; i != numbers.size(); ++i)
    ranges[i] = {of.block.data() + numbers[i] * discard::page, discard::page};
  const auto done = ::process_madvise(self.number, ranges.data(), numbers.size(), MADV_DONTNEED, 0);
  return done == static_cast<ssize_t>(numbers.size() * discard::page);
}

const bench::side<discard::subject> entered{
    "process_madvise of 256", [](discard::subject& of) -> bench::sample {
      if (of.of == discard::memory::memfd) return {};
      const auto self = std::make_shared<own_pidfd>();
      of.refill();
      discard::expect(give(of, *self, std::span{of.pages}.first(1)), "process_madvise: ");
      return discard::gives_back(of, [&of, self](auto numbers) {
        discard::expect(give(of, *self, numbers), "process_madvise: ");
      });
    }};

}  // namespace
