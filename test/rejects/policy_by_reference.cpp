// SPDX-License-Identifier: BSL-1.0
// expects: tether\[P1\]: this is not a policy.*no reference
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// A policy is named by its type, and the container makes its own.
#ifdef TETHER_CONTROL
using inhibition = tether::inhibit_per_group;
#else
using inhibition = tether::inhibit_per_group&;
#endif

using passthrough = tether::container<tether::software_iommu, inhibition>;
#include <rejects/program.hpp>
