// SPDX-License-Identifier: BSL-1.0
// Is the millionth unit as cheap as the first? Units of 4 KiB go and come once; the IOMMU is
// software, so that the table of mappings is the only thing that grows.
#pragma once

#include <cstdint>

namespace reclaim {

struct growth {
  explicit growth(std::uint64_t count) : units{count} {}
  std::uint64_t units;
};

}  // namespace reclaim
