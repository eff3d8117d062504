// SPDX-License-Identifier: BSL-1.0
// expects: tether\[P1\]: this is not a policy.*a policy is a complete class
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// Declared, and not defined.
#ifdef TETHER_CONTROL
struct per_group : tether::inhibit_per_group {};
#else
struct per_group;
#endif

using passthrough = tether::container<tether::software_iommu, per_group>;
#include <rejects/program.hpp>
