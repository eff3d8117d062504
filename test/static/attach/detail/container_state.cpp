// SPDX-License-Identifier: BSL-1.0
#include <tether/attach/detail/container_state.hpp>

#include <tether/attach/configuration.hpp>
#include <tether/backend/iommufd.hpp>
#include <tether/backend/software_iommu.hpp>

#include <type_traits>

namespace tether::detail {
namespace {

template <class Backend, class... Policies>
using state_of = container_state<Backend, configuration<Backend, Policies...>>;

// The policies are those of the configuration, and the gate's threading is the container's.
static_assert(std::is_same_v<state_of<iommufd, inhibit_per_device>::inhibition, inhibit_per_device>);
static_assert(std::is_same_v<state_of<iommufd, single_threaded>::gate_type,
                             discard_gate<single_threaded>>);
static_assert(!state_of<iommufd>::tells_kvm && state_of<iommufd, kvm_device>::tells_kvm);

// What a policy makes needless takes no byte: locks for one thread, an entry for the container.
static_assert(sizeof(state_of<software_iommu, single_threaded>) < sizeof(state_of<software_iommu>));
static_assert(sizeof(state_of<iommufd, inhibit_per_group>) <
              sizeof(state_of<iommufd, inhibit_per_container>));

// It is neither copied nor moved: the address space has its listener's address.
static_assert(!std::is_move_constructible_v<state_of<software_iommu>>);

}  // namespace
}  // namespace tether::detail
