// SPDX-License-Identifier: BSL-1.0
// expects: tether\[P1\]: this is not a policy
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

#ifdef TETHER_CONTROL
using policy = tether::whole_section;
#else
using policy = int;
#endif

using passthrough = tether::container<tether::software_iommu, policy>;
#include <rejects/program.hpp>
