// SPDX-License-Identifier: BSL-1.0
// expects: tether\[G1\]: fixed_block
#include <tether/granule/fixed_block.hpp>

#ifdef TETHER_CONTROL
constexpr std::uint64_t size = 64 * tether::KiB;
#else
constexpr std::uint64_t size = 48 * tether::KiB;
#endif

constexpr auto block = tether::fixed_block<size>::block_size;
