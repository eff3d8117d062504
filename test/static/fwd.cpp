// SPDX-License-Identifier: BSL-1.0
#include <tether/fwd.hpp>

// Enough to declare members and parameters, with the default arguments.
struct user;
void give(tether::container<tether::vfio_type1>& dma, tether::discard_gate<>& gate,
          tether::balloon<>& balloon, user& who);
void give(tether::container<tether::vfio_type1, tether::fixed_block<65536>,
                            tether::inhibit_per_device, tether::whole_section>& dma);

// It declares what the headers define: no second entity, no other kind.
#include <tether/testing.hpp>
#include <tether/tether.hpp>

#include <type_traits>

namespace {

static_assert(
    std::is_same_v<tether::discard_gate<>, tether::discard_gate<tether::multi_threaded>> &&
    sizeof(tether::discard_gate<>) != 0);
static_assert(std::is_same_v<tether::vfio_type1, tether::basic_vfio_type1<tether::linux_kernel>> &&
              tether::backend<tether::vfio_type1>);
static_assert(tether::backend<tether::iommufd> && tether::backend<tether::io_uring_buffers> &&
              tether::backend<tether::software_iommu>);
/// Defined, as a class of that name.
template <class... Types>
inline constexpr bool complete = (... && (sizeof(Types) != 0));
static_assert(
    complete<tether::error, tether::address_space, tether::flat_view, tether::memory_backing,
             tether::ram_block, tether::region, tether::transaction, tether::section, tether::label,
             tether::vfio_group, tether::vfio_cdev, tether::endpoint, tether::endpoint_group,
             tether::page_reporting<>, tether::kvm_device, tether::iommufd_context,
             tether::vfio_device, tether::inhibit_per_group, tether::inhibit_per_device,
             tether::inhibit_per_container, tether::no_inhibition, tether::whole_section,
             tether::largest_page, tether::fixed_block<4096>, tether::trim_edges,
             tether::refuse_edges, tether::sorted_lookup, tether::direct_lookup<4096>>);
static_assert(std::is_same_v<tether::container<tether::software_iommu>::attached,
                             tether::attached_group<tether::container<tether::software_iommu>>>);

}  // namespace
