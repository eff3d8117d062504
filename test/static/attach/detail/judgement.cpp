// SPDX-License-Identifier: BSL-1.0
// One thing is wrong at a time, whatever else is.
#include <tether/attach/detail/judgement.hpp>

#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/inhibit/policies.hpp>

#include <type_traits>

namespace tether::detail {
namespace {

struct nothing {};
template <class Refusal, class Backend, class... Policies>
constexpr bool judged_as = std::is_same_v<refusal_of<Backend, Policies...>, Refusal>;

static_assert(judged_as<not_refused, software_iommu>);
static_assert(judged_as<not_refused, io_uring_buffers, inhibit_per_device, refuse_edges>);

// The backend comes first, and is judged first.
static_assert(judged_as<no_backend_but_a_policy<trim_edges>, trim_edges, software_iommu>);
static_assert(judged_as<backend_without_traits<nothing>, nothing, nothing, nothing>);
static_assert(judged_as<backend_without_traits<int&>, int&>);
// Then whether each policy is one, and the first that is none.
static_assert(judged_as<policy_without_slot<nothing>, io_uring_buffers, no_inhibition, nothing>);
static_assert(judged_as<policy_without_slot<int>, io_uring_buffers, trim_edges, int, nothing>);
static_assert(judged_as<policies_for_one_slot<no_inhibition, no_inhibition>, io_uring_buffers,
                        no_inhibition, no_inhibition>);
// Then the inhibition, and with the backend before the others.
struct edgy {
  using slot = edges_slot;
};
static_assert(judged_as<backend_that_nobody_protects<io_uring_buffers, no_inhibition>,
                        io_uring_buffers, edgy, no_inhibition>);
static_assert(judged_as<edges_that_never_say<edgy>, software_iommu, edgy, no_inhibition>);
static_assert(judged_as<edges_that_never_say<edgy>, software_iommu, edgy, kvm_device>);
static_assert(judged_as<backend_without_descriptors<software_iommu, kvm_device>, software_iommu, kvm_device>);

}  // namespace
}  // namespace tether::detail
