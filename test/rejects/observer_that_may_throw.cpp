// SPDX-License-Identifier: BSL-1.0
// expects: tether\[O3\]: this observer has a function that would never be told
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// It is told in the middle of a rollback.
struct may_throw {
  using slot = tether::observation_slot;
  int told = 0;
  void unmapped(tether::extent<tether::io_address>) noexcept { ++told; }
#ifdef TETHER_CONTROL
  void mapped(tether::mapping const&) noexcept { ++told; }
#else
  void mapped(tether::mapping const&) { ++told; }
#endif
};

using passthrough = tether::container<tether::software_iommu, may_throw>;
#include <rejects/program.hpp>
