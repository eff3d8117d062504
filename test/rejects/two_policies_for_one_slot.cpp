// SPDX-License-Identifier: BSL-1.0
// expects: tether\[P2\]: two policies fill the same slot
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/granule/largest_page.hpp>

#ifdef TETHER_CONTROL
using second = tether::refuse_edges;
#else
using second = tether::largest_page;
#endif

using passthrough = tether::container<tether::software_iommu, tether::whole_section, second>;
#include <rejects/program.hpp>
