// SPDX-License-Identifier: BSL-1.0
// expects: tether\[K3\]: this KVM policy cannot be made without arguments: give the container one, as the value of 'kvm_device::create\(vm\)', after the backend
#include <tether/attach/container.hpp>
#include <tether/backend/vfio_type1.hpp>

using passthrough = tether::container<tether::vfio_type1, tether::kvm_device>;

bool attach_to(tether::address_space& guest, tether::discard_gate<>& gate, int vm);
bool attach_to(tether::address_space& guest, tether::discard_gate<>& gate,
               [[maybe_unused]] int vm) {
#ifdef TETHER_CONTROL
  auto kvm = tether::kvm_device::create(vm);
  if (!kvm) return false;
  passthrough dma{guest, gate, tether::vfio_type1{}, std::move(*kvm)};
#else
  passthrough dma{guest, gate};
#endif
  return dma.attach(tether::vfio_group{"/dev/vfio/12"}).has_value();
}
