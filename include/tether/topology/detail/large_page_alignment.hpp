// SPDX-License-Identifier: BSL-1.0
// Where new private memory lies best: at the beginning of a large page, so that CPU and IOMMU can
// use large pages for all of it. It is not worth more address space than there is.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/page_sizes.hpp>

#include <cstdint>
#include <sys/mman.h>

namespace tether::detail {

template <class Kernel>
struct large_page_alignment {
  /// Moves new private memory to where the largest page that there are addresses for begins, so
  /// that CPU and IOMMU can use large pages. Gives nothing back before there is something better;
  /// returns where it is now.
  static std::uint64_t moved(std::uint64_t host, std::uint64_t size, int flags) noexcept {
    const page_sizes all = sizes_of_page_tables(Kernel::page_size());
    for (std::uint64_t large = all.largest_at(0, size); large > all.smallest();
         large = all.largest_at(0, large - 1)) {
      const std::uint64_t begin = round_down(host, large);
      const std::uint64_t more = host - begin;
      if (more == 0) return host;
      // The kernel maps downwards, so what lies below is mostly free, and takes the fewest.
      const auto below =
          Kernel::mmap_at(begin, more, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, -1, 0);
      if (below >= 0 && static_cast<std::uint64_t>(below) == begin) {
        static_cast<void>(Kernel::munmap(begin + size, more));
        return begin;
      }
      // before Linux 4.17 the address is only a hint
      if (below >= 0) static_cast<void>(Kernel::munmap(static_cast<std::uint64_t>(below), more));
      if (const auto elsewhere = mmap_aligned(size, flags, large); elsewhere >= 0) {
        static_cast<void>(Kernel::munmap(host, size));
        return static_cast<std::uint64_t>(elsewhere);
      }
    }
    return host;
  }

 private:
  /// Maps private memory aligned to `large`: maps more, then unmaps the excess on both sides.
  static std::int64_t mmap_aligned(std::uint64_t size, int flags, std::uint64_t large) noexcept {
    const auto answer = Kernel::mmap(size + large, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (answer < 0) return answer;
    const auto from = static_cast<std::uint64_t>(answer);
    const std::uint64_t host = round_up(from, large);
    if (host != from) static_cast<void>(Kernel::munmap(from, host - from));
    if (from + large != host) static_cast<void>(Kernel::munmap(host + size, from + large - host));
    return static_cast<std::int64_t>(host);
  }
};

}  // namespace tether::detail
