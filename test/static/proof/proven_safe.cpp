// SPDX-License-Identifier: BSL-1.0
// Every built-in configuration is proven here, once. What differs in nothing that matters is one proof, and what does the same but
// for telling KVM follows from the one that does. (All are searched on their own, in larger worlds, by test/scenario.)
#include <tether/proof/follows.hpp>
#include <tether/proof/proven_safe.hpp>

#include <tether/attach/container.hpp>
#include <tether/attach/kvm_device.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/iommufd.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/largest_page.hpp>
#include <tether/inhibit/inhibit_per_container.hpp>
#include <tether/inhibit/inhibit_per_device.hpp>

#include <type_traits>

namespace tether {
namespace {

template <class Backend, class Inhibition>
concept proven_with_and_without_kvm =
    proven_safe<container<Backend, Inhibition, kvm_device>> &&
    follows_from<container<Backend, Inhibition>, container<Backend, Inhibition, kvm_device>>;

static_assert(proven_with_and_without_kvm<vfio_type1, inhibit_per_group>);
static_assert(proven_with_and_without_kvm<vfio_type1, inhibit_per_device>);
static_assert(proven_with_and_without_kvm<vfio_type1, inhibit_per_container>);
static_assert(proven_with_and_without_kvm<iommufd, inhibit_per_group>);
static_assert(proven_with_and_without_kvm<iommufd, inhibit_per_device>);
static_assert(proven_with_and_without_kvm<iommufd, inhibit_per_container>);

// The commonest is searched by itself as well: nothing is wrong with the argument.
static_assert(proven_safe<container<vfio_type1>>);

// A backend that pins nothing needs nobody held down, whatever was asked for.
static_assert(proven_safe<container<software_iommu>> && proven_safe<container<software_iommu, inhibit_per_container>>);

// Nothing of this is proven twice.
template <class One, class Other>
constexpr bool one_proof = std::is_same_v<proof::essence_of<One>, proof::essence_of<Other>>;
static_assert(one_proof<container<vfio_type1>, container<io_uring_buffers, inhibit_per_group>>);
static_assert(one_proof<container<vfio_type1>, container<vfio_type1, largest_page, single_threaded>>);
static_assert(one_proof<container<vfio_type1>, container<vfio_type1, fixed_block<2 * MiB>>>);
static_assert(one_proof<container<vfio_type1, kvm_device>, proof::essence<inhibit_per_group, lifecycle_of<attach_unit::group, true>>>);
static_assert(!one_proof<container<vfio_type1>, container<iommufd>> && !one_proof<container<vfio_type1>, container<software_iommu>>);
static_assert(!one_proof<container<vfio_type1>, container<vfio_type1, inhibit_per_device>>);

// It is a concept: usable wherever one is.
template <class Container>
constexpr int chosen = 0;
template <proven_safe Container>
constexpr int chosen<Container> = 1;
static_assert(chosen<container<vfio_type1>> == 1);

}  // namespace
}  // namespace tether
