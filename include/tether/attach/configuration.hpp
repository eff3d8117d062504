// SPDX-License-Identifier: BSL-1.0
// Combines a backend and policies into one configuration: which policy fills which slot. What is
// wrong with one, and the sentence that says so: `detail/refusals.hpp`.
#pragma once

#include <tether/attach/detail/judgement.hpp>
#include <tether/attach/detail/refusals.hpp>
#include <tether/attach/detail/slot_table.hpp>
#include <tether/attach/kvm_device.hpp>
#include <tether/attach/lifecycle/plans.hpp>
#include <tether/backend/concepts.hpp>
#include <tether/core/slots.hpp>
#include <tether/granule/concepts.hpp>
#include <tether/inhibit/kinds.hpp>
#include <tether/inhibit/policies.hpp>

#include <type_traits>

namespace tether {

/// The KVM policy that suits a backend: `kvm_device` if KVM can be told of what it attaches, else
/// `no_kvm`.
///
///     auto kvm = kvm_device_for<Backend>::create(vm);
///     container<Backend, kvm_device_for<Backend>> dma{guest, gate, std::move(*iommu),
///                                                     std::move(*kvm)};
template <backend Backend>
using kvm_device_for = std::conditional_t<has_kvm_file<Backend>, kvm_device, no_kvm>;

/// Whether `container<Backend, Policies...>` would be accepted. Usable in `if constexpr` and in a
/// cartesian product.
template <class Backend, class... Policies>
inline constexpr bool valid_configuration =
    std::is_same_v<detail::refusal_of<Backend, Policies...>, detail::not_refused>;

/// The policies that a container runs with. Defaults, also in place of what is refused:
/// `inhibit_per_group`, `whole_section`, `trim_edges`, `no_observation`, `no_tracing`,
/// `multi_threaded` and `no_kvm`.
template <class Backend, class... Policies>
class configuration {
  // Instantiates the sentence if there is one.
  static_assert(sizeof(detail::refusal_of<Backend, Policies...>) != 0);

 public:
  /// Whether the backend pins memory.
  static constexpr bool pins = detail::can_pin<Backend>;
  /// A backend that pins nothing needs no inhibition, whatever was asked for.
  using inhibition =
      std::conditional_t<pins, detail::policy_for<inhibition_slot, Policies...>, no_inhibition>;
  using granularity = detail::policy_for<granularity_slot, Policies...>;
  using edges = detail::policy_for<edges_slot, Policies...>;
  using observation = detail::policy_for<observation_slot, Policies...>;
  using tracing = detail::policy_for<tracing_slot, Policies...>;
  using threading = detail::policy_for<threading_slot, Policies...>;
  using kvm =
      std::conditional_t<detail::tellable<Backend, detail::policy_for<kvm_slot, Policies...>>,
                         detail::policy_for<kvm_slot, Policies...>, no_kvm>;
  /// The plans that it runs; which they are follows from the backend and from whether KVM is told.
  using lifecycle = lifecycle_of<detail::attaches<Backend>, kvm::tells>;

  /// Law 3: only a granularity that maps in blocks can allow coordinated discards.
  static constexpr hold_kind holds =
      maps_in_blocks<granularity> ? hold_kind::uncoordinated : hold_kind::any;
};

}  // namespace tether
