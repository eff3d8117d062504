// SPDX-License-Identifier: BSL-1.0
// expects: tether\[K2\]: KVM is told of VFIO groups and devices
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/backend/vfio_type1.hpp>

// An emulated IOMMU has no descriptor that KVM could be given.
#ifdef TETHER_CONTROL
using backend = tether::vfio_type1;
#else
using backend = tether::software_iommu;
#endif

using passthrough = tether::container<backend, tether::kvm_device>;

void attach(tether::address_space& guest, tether::discard_gate<>& gate, backend&& iommu,
            tether::kvm_device&& kvm, passthrough::source_type const& nics);
void attach(tether::address_space& guest, tether::discard_gate<>& gate, backend&& iommu,
            tether::kvm_device&& kvm, passthrough::source_type const& nics) {
  passthrough dma{guest, gate, std::move(iommu), std::move(kvm)};
  if (auto group = dma.attach(nics)) static_cast<void>(group->detach());
}
