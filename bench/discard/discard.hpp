// SPDX-License-Identifier: BSL-1.0
// A guest gives pages back, 256 in a request as Linux does. What does one cost the host, in every
// order, of every kind of memory, alone and beside vCPUs that run?
#pragma once

#include <racing/busy_threads.hpp>
#include <racing/must.hpp>
#include <racing/on_processor.hpp>
#include <racing/race.hpp>

#include <tether/topology/ram_block.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <random>
#include <span>
#include <string>
#include <sys/mman.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace discard {

inline constexpr std::size_t page = 4096;
inline constexpr std::size_t request = 256;
inline constexpr int madv_collapse = 25;  // Linux 6.1; older headers do not name it

enum class order { contiguous, descending, strided, random };
enum class memory { private_pages, memfd, huge_pages };

/// Numbers of pages, all different, of twice as many where they do not lie side by side.
inline std::vector<std::uint32_t> numbers(order which, std::size_t count) {
  std::vector<std::uint32_t> all(which == order::random ? 2 * count : count);
  for (std::size_t i = 0; i != all.size(); ++i)
    all[i] = static_cast<std::uint32_t>(which == order::strided ? 2 * i : i);
  if (which == order::descending) std::ranges::reverse(all);
  if (which == order::random) std::ranges::shuffle(all, std::mt19937{42});
  all.resize(count);
  return all;
}

/// Guest memory, the pages that the guest gives back, and threads that run beside.
class subject {
 public:
  subject(order order_of, memory memory_of, std::size_t count, unsigned beside)
      : pages{numbers(order_of, count)},
        in{order_of},
        of{memory_of},
        alone{beside == 0},
        bytes_{span_of(order_of, count)},
        file_{memory_of == memory::memfd ? file(bytes_) : -1},
        block{bench::must(memory_of == memory::memfd
                              ? tether::ram_block::from_descriptor("ram", file_, 0, bytes_)
                              : tether::ram_block::allocate("ram", bytes_))},
        vcpus_{beside} {
    if (memory_of != memory::memfd)
      advise(memory_of == memory::huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  }
  subject(subject const&) = delete;
  subject& operator=(subject const&) = delete;
  ~subject() {
    if (file_ >= 0) ::close(file_);
  }

  /// Brings all pages in, and makes huge ones of them again where they were split.
  void refill() const {
    advise(MADV_POPULATE_WRITE);
    if (of == memory::huge_pages) advise(madv_collapse);
  }
  [[nodiscard]] int file() const { return file_; }

  std::vector<std::uint32_t> pages;
  order in;
  memory of;
  bool alone;

 private:
  static std::size_t span_of(order which, std::size_t count) {
    const bool apart = which == order::strided || which == order::random;
    return std::max<std::size_t>((apart ? 2 : 1) * count * page, 2 * tether::MiB);
  }
  static int file(std::size_t bytes) {
    const int made = ::memfd_create("ram", MFD_CLOEXEC);
    if (made < 0 || ::ftruncate(made, static_cast<off_t>(bytes)) != 0)
      throw bench::cannot_run{"memfd: " + std::generic_category().message(errno)};
    return made;
  }
  void advise(int what) const {
    if (::madvise(block.data(), bytes_, what) != 0)
      throw bench::cannot_run{"madvise: " + std::generic_category().message(errno)};
  }

  std::size_t bytes_;
  int file_;

 public:
  tether::ram_block block;

 private:
  bench::busy_threads vcpus_;
};

/// Nanoseconds a page, where `give(numbers)` gives back the pages of one request.
template <class Give>
bench::sample gives_back(subject& of, Give give, std::size_t at_once = request,
                         clockid_t whose = CLOCK_THREAD_CPUTIME_ID) {
  return [&of, give, at_once, whose] {
    of.refill();
    const auto all = [&] {
      for (std::size_t at = 0; at < of.pages.size(); at += at_once)
        give(std::span{of.pages}.subspan(at, std::min(at_once, of.pages.size() - at)));
    };
    const double took = bench::nanoseconds_on_processor(all, whose);
    return took / static_cast<double>(of.pages.size());
  };
}

inline void expect(bool done, char const* what) {
  if (!done) throw bench::cannot_run{std::string{what} + std::generic_category().message(errno)};
}

}  // namespace discard
