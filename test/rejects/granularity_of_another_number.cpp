// SPDX-License-Identifier: BSL-1.0
// expects: tether\[G2\]: a policy for the granularity slot needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

#include <cstdint>

#ifdef TETHER_CONTROL
using bytes = std::uint64_t;
#else
using bytes = std::uint32_t;
#endif

// Blocks of 4 GiB and more would wrap.
struct by_megabytes {
  using slot = tether::granularity_slot;
  static constexpr bytes block_size = 1 << 20U;
  static constexpr std::uint64_t first_piece(tether::mapping const& rest, tether::block_offset,
                                             tether::page_sizes) noexcept {
    return rest.where.size();
  }
  static constexpr std::uint64_t pieces(tether::mapping const&, tether::block_offset,
                                        tether::page_sizes) noexcept {
    return 1;
  }
};

using passthrough = tether::container<tether::software_iommu, by_megabytes>;
#include <rejects/program.hpp>
