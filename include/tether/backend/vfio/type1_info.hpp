// SPDX-License-Identifier: BSL-1.0
// What VFIO_IOMMU_GET_INFO answers: a struct and, behind it, a chain of capabilities at offsets
// that the kernel names (`capability_chain.hpp`).
//
//     | argsz flags pgsizes cap_offset |..| id version next | ranges |..| id version next | avail |
//                               +-----------^           +-----------------^
#pragma once

#include <tether/backend/vfio/capability_chain.hpp>
#include <tether/core/address.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/page_sizes.hpp>

#include <linux/vfio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <system_error>
#include <vector>

namespace tether::detail {

/// What a type1 container can map now. Source: `vfio_iommu_type1_info` and its capabilities.
struct vfio_type1_info {
  tether::page_sizes page_sizes{};
  /// Sorted, as the kernel reports them. Without the capability everything is usable (only mediated
  /// groups so far).
  std::vector<extent<io_address>> usable{extent<io_address>::everything()};
  /// How many mappings may still be made, if the kernel reports it (since 5.10), and none was made
  /// or removed since.
  std::optional<std::uint32_t> available{};
};

/// The error for an answer that cannot be what the kernel meant to write.
[[nodiscard]] inline error malformed_info() noexcept {
  return error{"read IOMMU info", errc::bad_descriptor}.advise(
      "the kernel's capability chain is malformed");
}

/// The usable ranges: sorted, disjoint, at least one.
[[nodiscard]] inline result<void> read_ranges(std::span<std::byte const> bytes, std::size_t at,
                                              vfio_type1_info& info) noexcept {
  TETHER_TRY {
    const auto count = read_at<std::uint32_t>(
        bytes, at + offsetof(vfio_iommu_type1_info_cap_iova_range, nr_iovas));
    if (!count || *count == 0) return failure(malformed_info());
    info.usable.clear();
    for (std::size_t i = 0; i < *count; ++i) {
      const auto range = read_at<vfio_iova_range>(
          bytes, at + sizeof(vfio_iommu_type1_info_cap_iova_range) + i * sizeof(vfio_iova_range));
      if (!range || range->end < range->start) return failure(malformed_info());
      if (!info.usable.empty() && range->start <= info.usable.back().last.value)
        return failure(malformed_info());
      info.usable.push_back({io_address{range->start}, io_address{range->end}});
    }
    return {};
  }
  TETHER_CATCH(std::exception const&) { return failure(error::out_of_memory("read IOMMU info")); }
}

/// One capability. An unknown one is ignored, and so is one in an unknown version, unless nothing
/// else tells what it does: which addresses are usable.
[[nodiscard]] inline result<void> read_capability(std::span<std::byte const> bytes, std::size_t at,
                                                  vfio_info_cap_header header,
                                                  vfio_type1_info& info) noexcept {
  constexpr std::uint16_t known_version = 1;
  const bool known = header.id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE ||
                     header.id == VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL;
  if (!known) return {};
  if (header.id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) {
    if (header.version == known_version) return read_ranges(bytes, at, info);
    return failure(error{"read IOMMU info", errc::unsupported}.advise(
        "what its IOMMU can reach is told in version {} of the capability: use iommufd",
        header.version));
  }
  // How many fit is told by the module's limit as well.
  if (header.version != known_version) return {};
  const auto avail = read_at<vfio_iommu_type1_info_dma_avail>(bytes, at);
  if (!avail) return failure(malformed_info());
  info.available = avail->avail;
  return {};
}

/// Parses what the kernel has written. Fails: `bad_descriptor` for a struct or chain that does not
/// fit into its own `argsz`, goes backwards, names no range or ranges out of order; `unsupported`
/// if the ranges are told in a version that is not known; not enough memory.
[[nodiscard]] inline result<vfio_type1_info> parse_type1_info(std::span<std::byte const> bytes,
                                                              page_sizes host) noexcept {
  TETHER_TRY {
    const auto argsz = read_at<std::uint32_t>(bytes, offsetof(vfio_iommu_type1_info, argsz));
    if (!argsz) return failure(malformed_info());
    // Bytes beyond argsz were not written by the kernel: the structs of old kernels are shorter.
    bytes = bytes.first(std::min<std::size_t>(*argsz, bytes.size()));
    const auto flags = read_at<std::uint32_t>(bytes, offsetof(vfio_iommu_type1_info, flags));
    const auto sizes = read_at<std::uint64_t>(bytes, offsetof(vfio_iommu_type1_info, iova_pgsizes));
    if (!flags || !sizes) return failure(malformed_info());
    vfio_type1_info info;
    info.page_sizes = (*flags & VFIO_IOMMU_INFO_PGSIZES) != 0 ? page_sizes{*sizes} : host;
    if (info.page_sizes.empty()) return failure(malformed_info());
    if ((*flags & VFIO_IOMMU_INFO_CAPS) == 0) return info;

    const auto first = read_at<std::uint32_t>(bytes, offsetof(vfio_iommu_type1_info, cap_offset));
    if (!first) return failure(malformed_info());
    auto walked = read_chain(
        bytes, *first, offsetof(vfio_iommu_type1_info, cap_offset) + sizeof(std::uint32_t),
        malformed_info(), [&](std::size_t at, vfio_info_cap_header header) noexcept {
          return read_capability(bytes, at, header, info);
        });
    if (!walked) return failure(walked.error());
    return info;
  }
  TETHER_CATCH(std::exception const&) {  // `info` begins with one usable range
    return failure(error::out_of_memory("read IOMMU info"));
  }
}

}  // namespace tether::detail
