// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B1\]: a policy stands where the backend belongs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

#include <utility>

// Policies come in any order, and after the backend.
#ifdef TETHER_CONTROL
using passthrough = tether::container<tether::software_iommu, tether::inhibit_per_device>;
#else
using passthrough = tether::container<tether::inhibit_per_device, tether::software_iommu>;
#endif
#include <rejects/program.hpp>
