// SPDX-License-Identifier: BSL-1.0
// Every built-in configuration is proven here, once; configurations that differ in nothing that
// safety depends on share one proof. (All are searched in larger models, too, by test/exhaustive.)
#include <tether/proof/proven_safe.hpp>

#include <tether/attach/container.hpp>
#include <tether/attach/kvm_device.hpp>
#include <tether/backend/iommufd.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/policies.hpp>

#include <type_traits>

namespace tether {
namespace {

template <class Backend, class Inhibition>
concept proven_with_and_without_kvm = proven_safe<container<Backend, Inhibition, kvm_device>> &&
                                      proven_safe<container<Backend, Inhibition>>;

static_assert(proven_with_and_without_kvm<vfio_type1, inhibit_per_group>);
static_assert(proven_with_and_without_kvm<vfio_type1, inhibit_per_device>);
static_assert(proven_with_and_without_kvm<vfio_type1, inhibit_per_container>);
static_assert(proven_with_and_without_kvm<iommufd, inhibit_per_group>);
static_assert(proven_with_and_without_kvm<iommufd, inhibit_per_device>);
static_assert(proven_with_and_without_kvm<iommufd, inhibit_per_container>);

// Whoever maps in blocks, beside sources that discard and populate units meanwhile: the second model
// is searched once, for all of them.
static_assert(proven_safe<container<vfio_type1, inhibit_per_group, fixed_block<2 * MiB>>>);
static_assert(proven_safe<container<iommufd, inhibit_per_device, fixed_block<64 * KiB>>>);
static_assert(proven_safe<container<software_iommu, fixed_block<4 * KiB>>>);
static_assert(std::is_same_v<proof::unit_abstraction_of<
                                 container<vfio_type1, inhibit_per_group, fixed_block<2 * MiB>>>,
                             proof::unit_abstraction<hold_kind::uncoordinated>>);

// A backend that pins nothing needs nobody held down, whatever was asked for.
static_assert(proven_safe<container<software_iommu>> &&
              proven_safe<container<software_iommu, inhibit_per_container>>);

// It is a concept: usable wherever one is.
template <class Container>
constexpr int chosen = 0;
template <proven_safe Container>
constexpr int chosen<Container> = 1;
static_assert(chosen<container<vfio_type1, kvm_device>> == 1);

}  // namespace
}  // namespace tether
