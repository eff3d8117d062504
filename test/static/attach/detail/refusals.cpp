// SPDX-License-Identifier: BSL-1.0
// What the sentences judge by; that each is said is for test/rejects/ to show.
#include <tether/attach/detail/refusals.hpp>

#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/inhibit/policies.hpp>

namespace tether::detail {
namespace {

class keeps_it_private {
  using slot = edges_slot;
};
static_assert(hides_its_slot<keeps_it_private> && !hides_its_slot<trim_edges> &&
              !hides_its_slot<int>);

// What is no backend is judged, too: nothing of it is named before that.
struct names_functions {
  static bool pins();
  static attach_unit unit();
};
static_assert(attaches<names_functions> == attach_unit::group && can_pin<names_functions>);
static_assert(attaches<int> == attach_unit::group && can_pin<int>);
static_assert(attaches<software_iommu> == attach_unit::group && !can_pin<software_iommu>);

static_assert(unprotected<io_uring_buffers, no_inhibition> &&
              !unprotected<io_uring_buffers, inhibit_per_group> &&
              !unprotected<software_iommu, no_inhibition>);
static_assert(tellable<vfio_type1, kvm_device> && !tellable<software_iommu, kvm_device> &&
              tellable<software_iommu, no_kvm>);
static_assert(options_usable<software_iommu> && options_usable<io_uring_buffers>);

}  // namespace
}  // namespace tether::detail
