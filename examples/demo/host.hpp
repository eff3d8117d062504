// SPDX-License-Identifier: BSL-1.0
// What this machine allows, asked of the kernel itself: how much it pins for us, how much memory
// there is to spare.
#pragma once

#include "guest_ram.hpp"

#include <tether/backend/io_uring_buffers.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/resource.h>
#include <system_error>
#include <vector>

namespace demo {

/// A number that a file of /proc gives in KiB behind `label`. Units: bytes; 0 if it is not there.
[[nodiscard]] inline std::uint64_t from_proc(char const* file, std::string const& label) {
  std::ifstream lines{file};
  std::string word;
  while (lines >> word) {
    std::uint64_t kib = 0;
    if (word == label && lines >> kib) return kib * tether::KiB;
  }
  return 0;
}
/// What the kernel has pinned for this process. Units: bytes.
[[nodiscard]] inline std::uint64_t pinned_now() { return from_proc("/proc/self/status", "VmPin:"); }
[[nodiscard]] inline std::uint64_t memory_to_spare() {
  return from_proc("/proc/meminfo", "MemAvailable:");
}

/// What a request of an endpoint that pins on demand takes beside the guest. Units: bytes.
inline constexpr std::uint64_t room_for_requests = 64 * tether::KiB;

/// The largest guest that the kernel pins here.
struct pinning {
  std::uint64_t most = 0;  ///< bytes; 0: none
  std::string why{};       ///< the reason, where it is less than was wanted
};

[[nodiscard]] inline tether::result<void> try_to_pin(tether::io_uring_buffers& iommu,
                                                     std::uint64_t bytes) {
  const guest_ram ram{bytes};
  const auto everything = ram.as_mapping();
  if (auto pinned = iommu.map(everything); !pinned) return pinned;
  return iommu.unmap(everything.where);
}

/// Tries it: only the kernel knows whether the memlock limit applies to this process.
[[nodiscard]] inline pinning largest_pinned_guest(std::uint64_t wanted) {
  auto iommu = tether::io_uring_buffers::open();
  if (!iommu) return {0, iommu.error().sentence()};
  const auto joined = iommu->join({"probe", {{"probe", tether::pin_class::pins}}});
  if (!joined) return {0, joined.error().sentence()};
  const auto first = try_to_pin(*iommu, wanted + room_for_requests);
  if (first) return {wanted, {}};
  if (!first.error().is_errno(ENOMEM) && !first.error().is_errno(EPERM))
    return {0, first.error().sentence()};

  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur <= room_for_requests)
    return {0, first.error().sentence()};
  const std::uint64_t most = std::min<std::uint64_t>(
      wanted, tether::round_down(limit.rlim_cur - room_for_requests, tether::MiB));
  const std::string of_the_limit =
      "the locked-memory limit is " + std::to_string(limit.rlim_cur / tether::KiB) + " KiB";
  if (most == 0) return {0, of_the_limit + ", too little for a guest"};
  if (const auto second = try_to_pin(*iommu, most + room_for_requests); !second) {
    return {0, of_the_limit + ", and not all of it is left: " + second.error().sentence()};
  }
  return {most, of_the_limit};
}

/// Why the backends that pass hardware through were skipped, one sentence for each.
[[nodiscard]] inline std::vector<std::string> backends_for_hardware() {
  const auto sentence_of = [](char const* backend, char const* node) {
    std::error_code unknown;
    const bool there = std::filesystem::exists(node, unknown);
    return std::string{backend} + " drives devices behind an IOMMU (" + node +
           (there ? " is here" : " is not here") +
           "): cmake --workflow --preset system walks it, and examples/edu_dma.cpp is the program "
           "to start from";
  };
  return {sentence_of("vfio_type1", "/dev/vfio/vfio"), sentence_of("iommufd", "/dev/iommu")};
}

}  // namespace demo
