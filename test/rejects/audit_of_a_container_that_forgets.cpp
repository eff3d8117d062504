// SPDX-License-Identifier: BSL-1.0
// expects: tether\[A1\]: a container can be audited only if it remembers what it pinned
#include <tether/attach/audit.hpp>
#include <tether/backend/software_iommu.hpp>

#ifdef TETHER_CONTROL
using policy = tether::audited;
#else
using policy = tether::no_observation;
#endif

bool clean(tether::container<tether::software_iommu, policy>& dma) {
  return tether::audit(dma)->clean();
}
