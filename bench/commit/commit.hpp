// SPDX-License-Identifier: BSL-1.0
// What does a change of a map of N sections cost, with nobody, one container and three attached?
// Section i is a page at 2 i pages, so that it has no neighbour. The IOMMU is software.
#pragma once

#include <racing/race.hpp>

#include <tether/core/address.hpp>

#include <cstdint>

namespace commit {

inline constexpr std::uint64_t page = 4 * tether::KiB;
inline constexpr std::uint64_t begin = 4 * tether::GiB;  // behind the hole of an ordinary machine

/// Where section i lies.
[[nodiscard]] constexpr std::uint64_t place_of(std::uint64_t i) { return begin + 2 * i * page; }

/// One more section is placed, and removed again: two commits.
struct one_of {
  std::uint64_t sections;
};
/// One commit replaces all sections by others at the same places.
struct all_of {
  std::uint64_t sections;
};
/// A container attaches, and detaches.
struct detach_of {
  std::uint64_t sections;
};

}  // namespace commit
