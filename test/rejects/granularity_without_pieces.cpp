// SPDX-License-Identifier: BSL-1.0
// expects: tether\[G2\]: a policy for the granularity slot needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

#include <cstdint>

// How many mappings will it take? That is asked before anything is touched.
struct in_one {
  using slot = tether::granularity_slot;
  static constexpr std::uint64_t block_size = 0;
  static constexpr std::uint64_t first_piece(tether::mapping const& rest, tether::block_offset,
                                             tether::page_sizes) noexcept {
    return rest.where.size();
  }
#ifdef TETHER_CONTROL
  static constexpr std::uint64_t pieces(tether::mapping const&, tether::block_offset,
                                        tether::page_sizes) noexcept {
    return 1;
  }
#endif
};

using passthrough = tether::container<tether::software_iommu, in_one>;
#include <rejects/program.hpp>
