// SPDX-License-Identifier: BSL-1.0
// How long does it take to map 256 MiB, whole and in blocks, on pins that are real? io_uring's
// fixed buffers are pinned as VFIO pins. Only the mapping is timed, not the unmapping.
#pragma once

#include <racing/must.hpp>
#include <racing/race.hpp>

#include <tether/core/address.hpp>
#include <tether/topology/ram_block.hpp>

#include <cstdint>

namespace map {

inline constexpr std::uint64_t bytes = 256 * tether::MiB;
inline constexpr double a_gib = static_cast<double>(tether::GiB) / static_cast<double>(bytes);

struct subject {
  explicit subject(std::uint64_t block_size) : block{block_size} {
    bench::must(ram.populate({tether::block_offset{0}, tether::block_offset{bytes - 1}}));
  }

  std::uint64_t block;  ///< bytes that one call maps
  tether::ram_block ram{bench::must(tether::ram_block::allocate("ram", bytes))};
};

}  // namespace map
