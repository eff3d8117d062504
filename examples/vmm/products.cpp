// SPDX-License-Identifier: BSL-1.0
// The choices that a user has, each an alias, and the containers that they make. What is chosen
// when the monitor starts was compiled, and checked, before.
#include "passthrough.hpp"
#include "passthrough_over.hpp"

#include <tether/proof.hpp>
#include <tether/tether.hpp>

#include <memory>
#include <type_traits>
#include <utility>

namespace vmm {

namespace {

/// Who holds the balloon down, and how long.
using by_group = tether::inhibit_per_group;
using by_device = tether::inhibit_per_device;
using by_container = tether::inhibit_per_container;
/// How memory is mapped: whole (no balloon while a device is attached), or in blocks that can come
/// and go one by one.
using whole = tether::whole_section;
using in_blocks = tether::fixed_block<block_bytes>;

template <class Backend, class Inhibition, class Granularity>
using container_of = tether::container<Backend, Inhibition, Granularity,
                                       tether::kvm_device_for<Backend>, tether::audited>;
template <class Backend, class Inhibition, class Granularity>
using product = passthrough_over<container_of<Backend, Inhibition, Granularity>>;

/// Every one of them: no order of failures, balloon and guest leaves a stale page.
template <class Backend, class... Inhibitions>
constexpr bool all_proven_safe =
    (... && (tether::proven_safe<container_of<Backend, Inhibitions, whole>> &&
             tether::proven_safe<container_of<Backend, Inhibitions, in_blocks>>));
static_assert(all_proven_safe<tether::vfio_type1, by_group, by_device, by_container>);
static_assert(all_proven_safe<tether::iommufd, by_group, by_device, by_container>);

/// Calls `use` with the type that the words stand for.
template <class Use>
auto with_product(choices const& chosen, Use use) {
  const auto with_granularity = [&](auto backend, auto inhibition) {
    using B = typename decltype(backend)::type;
    using I = typename decltype(inhibition)::type;
    if (chosen.blocks) return use(std::type_identity<product<B, I, in_blocks>>{}, backend);
    return use(std::type_identity<product<B, I, whole>>{}, backend);
  };
  const auto with_inhibition = [&](auto backend) {
    if (chosen.inhibit == "device")
      return with_granularity(backend, std::type_identity<by_device>{});
    if (chosen.inhibit == "container")
      return with_granularity(backend, std::type_identity<by_container>{});
    return with_granularity(backend, std::type_identity<by_group>{});
  };
  if (chosen.backend == "iommufd") return with_inhibition(std::type_identity<tether::iommufd>{});
  return with_inhibition(std::type_identity<tether::vfio_type1>{});
}

}  // namespace

/// One of them. The compiler has seen them all.
tether::result<std::unique_ptr<passthrough>> make_passthrough(choices const& chosen,
                                                              tether::address_space& guest,
                                                              tether::discard_gate<>& gate,
                                                              virtual_machine& kvm) {
  using made = tether::result<std::unique_ptr<passthrough>>;
  return with_product(chosen, [&](auto which, auto backend) -> made {
    using type = typename decltype(which)::type;
    using iommu = typename decltype(backend)::type;
    auto told = tether::kvm_device_for<iommu>::create(kvm.machine());
    if (!told) return tether::failure(told.error());
    auto opened = tether::open_backend<iommu>();
    if (!opened) return tether::failure(opened.error());
    return std::make_unique<type>(guest, gate, std::move(*opened), std::move(*told), kvm);
  });
}

}  // namespace vmm
