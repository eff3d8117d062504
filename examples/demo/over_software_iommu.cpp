// SPDX-License-Identifier: BSL-1.0
// The demo's stories over this backend, compiled.
#include "walk_over.hpp"

#include <tether/backend/software_iommu.hpp>

template void demo::tell_every_configuration<tether::software_iommu>(walk&);
template void demo::tell_the_smallest_blocks<tether::software_iommu>(walk&);
