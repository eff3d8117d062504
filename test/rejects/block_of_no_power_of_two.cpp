// SPDX-License-Identifier: BSL-1.0
// expects: tether\[G1\]: a granularity's 'block_size'
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/granule/fixed_block.hpp>

#ifdef TETHER_CONTROL
constexpr std::uint64_t size = 64 * tether::KiB;
#else
constexpr std::uint64_t size = 48 * tether::KiB;
#endif

using passthrough = tether::container<tether::software_iommu, tether::fixed_block<size>>;
#include <rejects/program.hpp>
