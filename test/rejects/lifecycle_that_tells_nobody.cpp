// SPDX-License-Identifier: BSL-1.0
// expects: tether\[L3\]: these plans tell KVM and the KVM policy does not
#include <tether/attach/configuration.hpp>
#include <tether/backend/vfio_type1.hpp>

// KVM is there to be told, and the plans would never tell it.
struct plans : tether::lifecycle_of<tether::attach_unit::group,
#ifdef TETHER_CONTROL
                                    true
#else
                                    false
#endif
                                    > {
};

constexpr auto holds = tether::configuration<tether::vfio_type1, plans, tether::kvm_device>::holds;
