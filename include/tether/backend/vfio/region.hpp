// SPDX-License-Identifier: BSL-1.0
// What VFIO_DEVICE_GET_REGION_INFO says of a region, and which parts of it can be mapped. A driver
// that keeps some registers for itself (an MSI-X table, a doorbell that it traps) lists the rest:
//
//     |== area ==| read and write |==== area ====|      VFIO_REGION_INFO_CAP_SPARSE_MMAP
#pragma once

#include <tether/backend/vfio/capability_chain.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>

#include <linux/vfio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <system_error>
#include <vector>

namespace tether {

/// One of a device's regions: a BAR, the ROM, the configuration space.
struct vfio_region {
  std::uint64_t size = 0;    ///< bytes; 0: not there
  std::uint64_t offset = 0;  ///< where it begins in the device's descriptor
  bool mappable = false;     ///< whole or in parts
};

/// A part of a region that can be mapped. Units: bytes; `offset` is from the region's beginning.
struct vfio_area {
  std::uint64_t offset = 0;  ///< bytes from the region's beginning
  std::uint64_t size = 0;    ///< bytes
  friend bool operator==(vfio_area const&, vfio_area const&) = default;
};

namespace detail {

/// A region and all of it that can be mapped; none of `areas` is empty.
struct vfio_region_layout {
  vfio_region region{};
  std::vector<vfio_area> areas{};
};

/// The error for an answer that cannot be what the kernel meant to write.
[[nodiscard]] inline error malformed_region() noexcept {
  return error{"read region info", errc::bad_descriptor}.advise(
      "the kernel's capability chain is malformed");
}

/// The areas of the sparse-mmap capability at `at`. An area of length 0 is how a driver says that
/// nothing can be mapped there: it is skipped. Fails: `unsupported` for a version that is not known
/// here, `bad_descriptor` for areas that do not lie in the answer or in the region.
[[nodiscard]] inline result<void> read_areas(std::span<std::byte const> bytes, std::size_t at,
                                             std::uint16_t version,
                                             vfio_region_layout& into) noexcept {
  TETHER_TRY {
    if (version != 1) {
      return failure(error{"read region info", errc::unsupported}.advise(
          "its mappable areas are told in version {} of their struct: use read_region() and "
          "write_region()",
          version));
    }
    const auto count =
        read_at<std::uint32_t>(bytes, at + offsetof(vfio_region_info_cap_sparse_mmap, nr_areas));
    if (!count) return failure(malformed_region());
    into.areas.clear();
    for (std::size_t i = 0; i < *count; ++i) {
      const auto area = read_at<vfio_region_sparse_mmap_area>(
          bytes,
          at + sizeof(vfio_region_info_cap_sparse_mmap) + i * sizeof(vfio_region_sparse_mmap_area));
      if (!area) return failure(malformed_region());
      if (area->size == 0) continue;
      if (area->offset > into.region.size || area->size > into.region.size - area->offset)
        return failure(malformed_region());
      into.areas.push_back({area->offset, area->size});
    }
    return {};
  }
  TETHER_CATCH(std::exception const&) { return failure(error::out_of_memory("read region info")); }
}

/// Parses what the kernel has written. Without the capability a mappable region is one area. Fails:
/// `bad_descriptor` for an answer or chain that does not fit into its own `argsz`; as `read_areas`.
[[nodiscard]] inline result<vfio_region_layout> parse_region(
    std::span<std::byte const> bytes) noexcept {
  TETHER_TRY {
    const auto info = read_at<vfio_region_info>(bytes, 0);
    if (!info || info->argsz < sizeof *info) return failure(malformed_region());
    bytes = bytes.first(std::min<std::size_t>(info->argsz, bytes.size()));
    vfio_region_layout read;
    read.region = {info->size, info->offset, (info->flags & VFIO_REGION_INFO_FLAG_MMAP) != 0};
    if (!read.region.mappable || info->size == 0) return read;
    read.areas.push_back({0, info->size});
    if ((info->flags & VFIO_REGION_INFO_FLAG_CAPS) == 0) return read;
    auto walked = read_chain(bytes, info->cap_offset, sizeof *info, malformed_region(),
                             [&](std::size_t at, vfio_info_cap_header header) noexcept {
                               return header.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP
                                          ? read_areas(bytes, at, header.version, read)
                                          : result<void>{};
                             });
    if (!walked) return failure(walked.error());
    return read;
  }
  TETHER_CATCH(std::exception const&) { return failure(error::out_of_memory("read region info")); }
}

}  // namespace detail

}  // namespace tether
