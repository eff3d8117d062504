// SPDX-License-Identifier: BSL-1.0
// Of a configuration only what matters to safety is looked at; whatever has it is a configuration.
#include <tether/proof/model/abstraction.hpp>

#include <tether/attach/container.hpp>
#include <tether/attach/kvm_device.hpp>
#include <tether/attach/lifecycle/plans.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/iommufd.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/largest_page.hpp>
#include <tether/inhibit/policies.hpp>

#include <type_traits>

namespace tether::proof {
namespace {

struct some_backend {
  static constexpr bool pins = true;
};
template <hold_kind Holds, bool Tells>
struct some_container {
  using backend_type = some_backend;
  struct policies {
    using inhibition = inhibit_per_group;
    using lifecycle = lifecycle_of<attach_unit::device, Tells>;
    static constexpr hold_kind holds = Holds;
    static constexpr bool pins = some_backend::pins;
  };
};

using found = abstraction_of<some_container<hold_kind::any, false>>;
static_assert(
    std::is_same_v<found, abstraction<inhibit_per_group, lifecycle_of<attach_unit::device>>>);
static_assert(std::is_same_v<abstraction_of<found>, found>);
static_assert(found::unit == attach_unit::device && found::pins);

// Both kinds of hold keep a balloon off, so they are one proof; telling KVM is more steps, so it is
// another.
static_assert(
    std::is_same_v<abstraction_of<some_container<hold_kind::uncoordinated, false>>, found>);
static_assert(!std::is_same_v<abstraction_of<some_container<hold_kind::any, true>>, found>);
static_assert(tells_of<lifecycle_of<attach_unit::group, true>> &&
              !tells_of<lifecycle_of<attach_unit::group>>);

// So of the built-in configurations nothing is proven twice.
template <class One, class Other>
constexpr bool one_proof = std::is_same_v<abstraction_of<One>, abstraction_of<Other>>;
static_assert(one_proof<container<vfio_type1>, container<io_uring_buffers, inhibit_per_group>>);
static_assert(
    one_proof<container<vfio_type1>, container<vfio_type1, largest_page, single_threaded>>);
static_assert(one_proof<container<vfio_type1>, container<vfio_type1, fixed_block<2 * MiB>>>);
static_assert(one_proof<container<vfio_type1, kvm_device>,
                        abstraction<inhibit_per_group, lifecycle_of<attach_unit::group, true>>>);
static_assert(!one_proof<container<vfio_type1>, container<iommufd>> &&
              !one_proof<container<vfio_type1>, container<software_iommu>>);
static_assert(!one_proof<container<vfio_type1>, container<vfio_type1, inhibit_per_device>>);

// A gate that may let a discard in and then raise a hold is not asked to do both at once.
static_assert(machinery::gate_drains && small_scope::permit == permits::momentary &&
              scope<1, 1, 1>::permit == permits::lasting);

}  // namespace
}  // namespace tether::proof
