// SPDX-License-Identifier: BSL-1.0
// Memory goes back to the host and comes again, in units, while containers are attached that pin it
// (io_uring's fixed buffers). Each side has memory of its own: who splits huge pages has them so.
#pragma once

#include <racing/must.hpp>
#include <racing/race.hpp>

#include <tether/core/address.hpp>
#include <tether/topology/ram_block.hpp>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <sys/mman.h>

namespace reclaim {

enum class way { gone, back };

struct subject {
  std::uint64_t unit;   ///< bytes
  unsigned containers;  ///< that map the memory
  way timed;

  [[nodiscard]] std::uint64_t bytes() const { return std::max(unit, 256 * tether::MiB); }
};

/// Memory with huge pages, not brought in yet.
inline tether::ram_block memory(subject const& of) {
  auto made = bench::must(tether::ram_block::allocate("ram", of.bytes()));
  ::madvise(made.data(), of.bytes(), MADV_HUGEPAGE);
  return made;
}

/// Nanoseconds a GiB, of a side with `discard()` and `populate()` that do so with all memory.
template <class Side>
bench::sample goes_and_comes(subject& of) {
  return [&of, own = std::make_shared<Side>(of)] {
    const double gone = bench::nanoseconds([&] { own->discard(); });
    const double back = bench::nanoseconds([&] { own->populate(); });
    const double gib = static_cast<double>(of.bytes()) / static_cast<double>(tether::GiB);
    return (of.timed == way::gone ? gone : back) / gib;
  };
}

}  // namespace reclaim
