// SPDX-License-Identifier: BSL-1.0
// expects: tether\[G2\]: a policy for the granularity slot needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

struct by_halves {
  using slot = tether::granularity_slot;
#ifdef TETHER_CONTROL
  static constexpr std::uint64_t block_size = 0;
#endif
  static constexpr std::uint64_t first_piece(tether::mapping const& rest, tether::block_offset,
                                             tether::page_sizes) noexcept {
    return rest.where.size();
  }
  static constexpr std::uint64_t pieces(tether::mapping const&, tether::block_offset,
                                        tether::page_sizes) noexcept {
    return 1;
  }
};

using passthrough = tether::container<tether::software_iommu, by_halves>;
#include <rejects/program.hpp>
