// SPDX-License-Identifier: BSL-1.0
// Which policies a container runs with, which are valid together, and what they cost: nothing.
#include <tether/attach/configuration.hpp>

#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/largest_page.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/testing/recording.hpp>

#include <boost/hana/all_of.hpp>
#include <boost/hana/cartesian_product.hpp>
#include <boost/hana/tuple.hpp>
#include <boost/hana/type.hpp>

#include <type_traits>

namespace tether {
namespace {

namespace hana = boost::hana;

// The defaults.
using plain = configuration<io_uring_buffers>;
static_assert(std::is_same_v<plain::inhibition, inhibit_per_group> &&
              std::is_same_v<plain::granularity, whole_section>);
static_assert(std::is_same_v<plain::edges, trim_edges> &&
              std::is_same_v<plain::observation, no_observation>);
static_assert(std::is_same_v<plain::threading, multi_threaded> &&
              std::is_same_v<plain::lifecycle, standard_lifecycle>);

// KVM is told by whoever can tell it, and the others are made alike (`scenario/kvm_is_told`).
static_assert(std::is_same_v<kvm_device_for<software_iommu>, no_kvm> &&
              std::is_same_v<kvm_device_for<recording<io_uring_buffers>>, no_kvm>);
static_assert(valid_configuration<software_iommu, kvm_device_for<software_iommu>>);
static_assert(std::is_same_v<decltype(no_kvm::create(0)), result<no_kvm>>);

// Any order.
using one = configuration<io_uring_buffers, inhibit_per_device, fixed_block<64 * KiB>, refuse_edges,
                          single_threaded>;
using other = configuration<io_uring_buffers, single_threaded, refuse_edges, fixed_block<64 * KiB>,
                            inhibit_per_device>;
static_assert(std::is_same_v<one::inhibition, other::inhibition> &&
              std::is_same_v<one::granularity, other::granularity> &&
              std::is_same_v<one::edges, other::edges> &&
              std::is_same_v<one::threading, other::threading>);
static_assert(std::is_same_v<one::inhibition, inhibit_per_device> &&
              std::is_same_v<one::edges, refuse_edges>);

// Law 3: the kind of hold follows from the granularity.
static_assert(configuration<io_uring_buffers, whole_section>::holds == hold_kind::any);
static_assert(configuration<io_uring_buffers, largest_page>::holds == hold_kind::any);
static_assert(configuration<io_uring_buffers, fixed_block<2 * MiB>>::holds ==
              hold_kind::uncoordinated);

// A backend that pins nothing inhibits nothing, whatever was asked for; also through a recording.
static_assert(
    std::is_same_v<configuration<software_iommu, inhibit_per_device>::inhibition, no_inhibition>);
static_assert(std::is_same_v<configuration<recording<software_iommu>>::inhibition, no_inhibition>);
static_assert(
    std::is_same_v<configuration<recording<io_uring_buffers>>::inhibition, inhibit_per_group>);

// The whole product is valid, but for what pins with nobody held down.
constexpr auto backends = hana::tuple_t<software_iommu, io_uring_buffers, recording<software_iommu>,
                                        recording<io_uring_buffers>>;
constexpr auto inhibitions =
    hana::tuple_t<inhibit_per_container, inhibit_per_group, inhibit_per_device, no_inhibition>;
constexpr auto granularities =
    hana::tuple_t<whole_section, largest_page, fixed_block<64 * KiB>, fixed_block<2 * MiB>>;
constexpr auto judged = [](auto product) {
  using backend_type = typename decltype(+product[hana::size_c<0>])::type;
  using inhibition_type = typename decltype(+product[hana::size_c<1>])::type;
  using granularity_type = typename decltype(+product[hana::size_c<2>])::type;
  constexpr bool expected = !(backend_type::pins && std::is_same_v<inhibition_type, no_inhibition>);
  return hana::bool_c < valid_configuration<backend_type, inhibition_type, granularity_type> ==
             expected &&
         valid_configuration<backend_type, granularity_type, inhibition_type> == expected > ;
};
static_assert(decltype(hana::all_of(hana::cartesian_product(hana::make_tuple(backends, inhibitions,
                                                                             granularities)),
                                    judged))::value);

struct no_policy {};
struct no_backend {};
static_assert(!valid_configuration<no_backend>);
static_assert(!valid_configuration<software_iommu, no_policy>);
static_assert(!valid_configuration<software_iommu, trim_edges, refuse_edges>);
static_assert(!valid_configuration<software_iommu, whole_section, whole_section>);
static_assert(!valid_configuration<io_uring_buffers, no_inhibition>);
static_assert(!valid_configuration<io_uring_buffers, no_inhibition, fixed_block<64 * KiB>>,
              "law 3: whatever the granularity");

// What is needless costs no byte.
template <class... Policies>
constexpr auto size_on_software = sizeof(container<software_iommu, Policies...>);
static_assert(size_on_software<inhibit_per_group> == size_on_software<no_inhibition>);
static_assert(size_on_software<inhibit_per_device> == size_on_software<no_inhibition>);
static_assert(size_on_software<inhibit_per_container> == size_on_software<no_inhibition>);
static_assert(size_on_software<largest_page> == size_on_software<whole_section>);
static_assert(size_on_software<fixed_block<64 * KiB>> > size_on_software<whole_section>,
              "who maps in blocks follows units");
static_assert(size_on_software<refuse_edges> == size_on_software<trim_edges>);
static_assert(sizeof(container<io_uring_buffers, inhibit_per_group>) ==
              sizeof(container<io_uring_buffers, inhibit_per_device>));
static_assert(sizeof(container<io_uring_buffers, inhibit_per_group>) <
                  sizeof(container<io_uring_buffers, inhibit_per_container>),
              "only the policy that holds for the container has an entry there");
static_assert(size_on_software<single_threaded> < size_on_software<multi_threaded>,
              "no mutex where nobody else can come");
static_assert(
    sizeof(detail::section_mapper<software_iommu, fixed_block<64 * KiB>, no_observation>) ==
    sizeof(detail::section_mapper<software_iommu, whole_section, no_observation>));
static_assert(std::is_empty_v<detail::no_hold_entry>);
static_assert(sizeof(detail::group_record<software_iommu, no_inhibition>) <
              sizeof(detail::group_record<software_iommu, inhibit_per_group>));

// Handles are names: small, copied freely.
static_assert(std::is_trivially_copyable_v<container<software_iommu>::attached> &&
              std::is_trivially_copyable_v<container<software_iommu>::opened>);
static_assert(!std::is_copy_constructible_v<container<software_iommu>> &&
              !std::is_move_constructible_v<container<software_iommu>>);

}  // namespace
}  // namespace tether
