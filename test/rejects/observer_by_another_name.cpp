// SPDX-License-Identifier: BSL-1.0
// expects: tether\[O4\]: this observer is told nothing, or has a function that is not
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// A slip of the pen, and it hears nothing of what is mapped.
struct misspelt {
  using slot = tether::observation_slot;
  int told = 0;
  void unmapped(tether::extent<tether::io_address>) noexcept { ++told; }
#ifdef TETHER_CONTROL
  void mapped(tether::mapping const&) noexcept { ++told; }
#else
  void map(tether::mapping const&) noexcept { ++told; }
#endif
};

using passthrough = tether::container<tether::software_iommu, misspelt>;
#include <rejects/program.hpp>
