// SPDX-License-Identifier: BSL-1.0
// What an IOAS can map now: the IOVA ranges that the IOMMUs of all its devices can translate, and
// the page sizes. The kernel names the ranges and one alignment; it has no mask of page sizes.
//
//     no device joined:   [0 ............................ 2^64-1]   host pages
//     devices joined:     [0 ... 0xfedfffff] [0xfef00000 ... ]      from the IOMMUs' alignment up
#pragma once

#include <tether/backend/iommufd/context.hpp>
#include <tether/backend/iommufd/uapi.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/page_sizes.hpp>

#include <cerrno>
#include <cstdint>
#include <exception>
#include <span>
#include <utility>
#include <vector>

namespace tether::detail {

/// Not thread-safe: the container's lock guards it.
template <class Kernel>
class ioas_limits {
 public:
  /// As after `reset`. Fails: may throw `std::bad_alloc`.
  ioas_limits() : usable_(1, extent<io_address>::everything()) { reset(); }

  [[nodiscard]] tether::page_sizes page_sizes() const noexcept { return page_sizes_; }
  /// Sorted and disjoint, at least one.
  [[nodiscard]] std::span<extent<io_address> const> usable() const noexcept { return usable_; }

  /// Reads them from the kernel. Fails, keeping the previous limits: `bad_descriptor` for ranges
  /// out of order, not enough memory, the kernel's errno.
  [[nodiscard]] result<void> read(int context, std::uint32_t ioas) noexcept {
    TETHER_TRY {
      std::vector<iommufd_uapi::iova_range> room(usable_.size() + 1);
      iommufd_uapi::iova_limits limits{.ioas = ioas};
      for (int attempt = 0; attempt < 4; ++attempt) {
        limits.count = static_cast<std::uint32_t>(room.size());
        limits.ranges = reinterpret_cast<std::uintptr_t>(room.data());
        const auto answer = call_iommufd<Kernel>(context, iommufd_uapi::read_limits, limits);
        if (answer >= 0) return take(limits, room);
        if (answer != -EMSGSIZE)
          return failure(error::from_errno("read usable ranges", static_cast<int>(-answer)));
        if (limits.count <= room.size() || limits.count > most_ranges) break;
        room.resize(limits.count);
      }
      return failure(malformed());
    }
    TETHER_CATCH(std::exception const&) {
      return failure(error::out_of_memory("read usable ranges"));
    }
  }

  /// The limits while no device has joined: every IOVA is usable. Allocates nothing: there was
  /// always room for one range.
  void reset() noexcept {
    usable_.assign(1, extent<io_address>::everything());
    page_sizes_ = sizes_of_page_tables(Kernel::page_size());
  }

 private:
  /// No IOMMU has that many holes.
  static constexpr std::uint32_t most_ranges = 1U << 16;

  static error malformed() noexcept {
    return error{"read usable ranges", errc::bad_descriptor}.advise(
        "the kernel's ranges are out of order");
  }
  result<void> take(iommufd_uapi::iova_limits const& limits,
                    std::vector<iommufd_uapi::iova_range> const& ranges) {
    std::vector<extent<io_address>> usable;
    if (limits.count == 0 || limits.count > ranges.size()) return failure(malformed());
    for (auto const& range : std::span{ranges}.first(limits.count)) {
      if (range.last < range.first || (!usable.empty() && range.first <= usable.back().last.value))
        return failure(malformed());
      usable.push_back({io_address{range.first}, io_address{range.last}});
    }
    usable_ = std::move(usable);
    page_sizes_ = sizes_of_page_tables(Kernel::page_size());
    // An alignment below the host's page (1, while no device has joined) is not a page size: host
    // pages are what is pinned.
    if (limits.alignment > Kernel::page_size())
      page_sizes_.mask = (page_sizes_.mask & ~(limits.alignment - 1)) | limits.alignment;
    return {};
  }

  tether::page_sizes page_sizes_{};
  std::vector<extent<io_address>> usable_;
};

}  // namespace tether::detail
