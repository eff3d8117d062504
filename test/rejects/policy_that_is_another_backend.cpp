// SPDX-License-Identifier: BSL-1.0
// expects: tether\[P1\]: this is not a policy
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/software_iommu.hpp>

// A container has one backend.
#ifdef TETHER_CONTROL
using passthrough = tether::container<tether::software_iommu>;
#else
using passthrough = tether::container<tether::software_iommu, tether::io_uring_buffers>;
#endif
#include <rejects/program.hpp>
