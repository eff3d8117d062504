// SPDX-License-Identifier: BSL-1.0
// expects: tether\[O6\]: 'part' was asked for an observer that is not among these
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/listen/observers.hpp>

struct counts {
  using slot = tether::observation_slot;
  void mapped(tether::mapping const&) noexcept {}
};
struct sums : counts {};

#ifdef TETHER_CONTROL
using both = tether::observers<counts, sums>;
#else
using both = tether::observers<counts>;
#endif
using passthrough = tether::container<tether::software_iommu, both>;
sums& sums_of(passthrough& dma);
sums& sums_of(passthrough& dma) { return dma.observer().part<sums>(); }
#include <rejects/program.hpp>
