// SPDX-License-Identifier: BSL-1.0
// expects: tether\[O3\]: this observer has a function that would never be told
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// A piece is no extent: it would never be told of one.
struct listens_for_extents {
  using slot = tether::observation_slot;
  int told = 0;
  void unmapped(tether::extent<tether::io_address>) noexcept { ++told; }
#ifdef TETHER_CONTROL
  void mapped(tether::mapping const&) noexcept { ++told; }
#else
  void mapped(tether::extent<tether::io_address>) noexcept { ++told; }
#endif
};

using passthrough = tether::container<tether::software_iommu, listens_for_extents>;
#include <rejects/program.hpp>
