// SPDX-License-Identifier: BSL-1.0
// What a backend refuses before it changes anything, in the order in which VFIO's type1 driver
// checks: the shape of a mapping first, then where it lies. Overlap and budget are left to the
// owner of the table. And the reverse: which of these it was, if a kernel has refused with one
// errno for all of them.
#pragma once

#include <tether/backend/detail/host_memory.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <span>

namespace tether::detail {

/// Whether `what` is well formed: first <= last, no wrap-around, at least one right, in whole pages
/// of `smallest` bytes.
/// Fails: `invalid_extent`, `access_denied`, `not_aligned`.
[[nodiscard]] inline result<void> check_shape(mapping const& what,
                                              std::uint64_t smallest) noexcept {
  const std::uint64_t reach = what.where.last.value - what.where.first.value;
  if (!what.where.valid() || what.host.value > std::numeric_limits<std::uint64_t>::max() - reach) {
    return failure(error{"map", errc::invalid_extent}.at(what.where));
  }
  if (what.rights == access::none) {
    return failure(error{"map", errc::access_denied}
                       .at(what.where)
                       .advise("give the mapping a right to read or to write"));
  }
  if (!what.where.aligned_to(smallest) || !what.host.aligned_to(smallest)) {
    return failure(
        error{"map", errc::not_aligned}
            .at(what.where)
            .advise("both addresses and the size must be multiples of {} bytes", smallest));
  }
  return {};
}

/// Whether `where` lies within *one* of the `usable` ranges: it cannot span two adjacent ones.
/// Requires: they are sorted and disjoint. Cost: log N for N of them.
/// Fails: `invalid_extent`, `outside_aperture`. Source: type1's IOVA list, measured on a real
/// kernel.
[[nodiscard]] inline result<void> check_aperture(
    extent<io_address> where, std::span<extent<io_address> const> usable) noexcept {
  if (!where.valid()) return failure(error{"map", errc::invalid_extent}.at(where));
  const auto reaching = std::ranges::partition_point(
      usable, [&](extent<io_address> const& range) { return range.last < where.last; });
  if (reaching != usable.end() && reaching->contains(where)) return {};
  return failure(error{"map", errc::outside_aperture}.at(where).advise(
      "keep each mapping within one of the usable ranges"));
}

/// Diagnoses a kernel's refusal to map, but for ENOMEM. Asks what it tells with one errno: the
/// shape first, then the aperture, then the memory.
template <class Kernel>
[[nodiscard, gnu::cold]] error why_not_mapped(mapping const& what, int number,
                                              std::uint64_t smallest,
                                              std::span<extent<io_address> const> usable) noexcept {
  const auto why = error::from_errno("map", number).at(what.where);
  if (number == EEXIST) return error{"map", errc::overlaps}.at(what.where);
  if (number == EBADF)
    return why.advise("no container is open: join a group or device to the backend first");
  if (number != EINVAL && number != EOVERFLOW && number != EFAULT) return why;
  if (auto shaped = check_shape(what, smallest); !shaped) return shaped.error();
  if (auto inside = check_aperture(what.where, usable); !inside) return inside.error();
  return number == EFAULT ? why_not_pinned<Kernel>("map", what) : why;
}

/// Diagnoses a kernel's refusal to unmap. Where an extent is inverted it answers EINVAL; that is
/// named here, at no cost on success.
[[nodiscard, gnu::cold]] inline error why_not_unmapped(extent<io_address> where,
                                                       int number) noexcept {
  return (where.valid() ? error::from_errno("unmap", number) : error{"unmap", errc::invalid_extent})
      .at(where);
}

}  // namespace tether::detail
