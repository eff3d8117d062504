// SPDX-License-Identifier: BSL-1.0
// expects: tether\[K2\]: KVM is told of VFIO groups and devices
#include <tether/attach/configuration.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/backend/vfio_type1.hpp>

// An emulated IOMMU has no descriptor that KVM could be given.
#ifdef TETHER_CONTROL
using backend = tether::vfio_type1;
#else
using backend = tether::software_iommu;
#endif

constexpr auto holds = tether::configuration<backend, tether::kvm_device>::holds;
