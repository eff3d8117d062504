// SPDX-License-Identifier: BSL-1.0
// All that one container on iommufd keeps, at a fixed address behind the movable backend: its IOAS,
// its page tables (HWPTs), and the ring of the devices that have joined it.
//
//     context <-- ioas <-- tables --+-- device      joined: the devices, each owned by its handle
//                                   +-- device
#pragma once

#include <tether/backend/detail/intrusive_ring.hpp>
#include <tether/backend/iommufd/context.hpp>
#include <tether/backend/iommufd/hwpts.hpp>
#include <tether/backend/iommufd/ioas.hpp>
#include <tether/backend/vfio/device_state.hpp>
#include <tether/backend/vfio/sysfs.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>

#include <utility>

namespace tether::detail {

/// Not thread-safe: the container's lock guards it.
template <class Kernel>
struct iommufd_container_state {
  using device = vfio_device_state<Kernel>;

  iommufd_container_state(basic_iommufd_context<Kernel> context, vfio_sysfs known, bool huge_pages)
      : sysfs{std::move(known)}, ioas{std::move(context), huge_pages} {}
  iommufd_container_state(iommufd_container_state const&) = delete;
  iommufd_container_state& operator=(iommufd_container_state const&) = delete;
  /// A device that is still joined is closed. If a BAR of it is mapped, the IOAS stays until the
  /// context is closed. In a child of a fork all of it is the parent's.
  ~iommufd_container_state() {
    if (!ioas.is_inherited()) static_cast<void>(abandon());
  }

  /// The context's.
  [[nodiscard]] int descriptor() const noexcept { return ioas.context().descriptor(); }
  /// Whether a device that is not mediated has joined.
  [[nodiscard]] bool pins() const noexcept {
    return joined.any_of(
        [](device const& one) noexcept { return one.attachment.pins == pin_class::pins; });
  }
  /// Whether a device is bound to this very context: ids are per context, so with another one it
  /// would be attached to whatever object has our id there.
  [[nodiscard]] bool is_bound(device const* who) const noexcept {
    return who != nullptr && who->descriptor.number() >= 0 &&
           who->attachment.context == &ioas.context().shared();
  }

  /// Tells the context whether this container's mappings are pinned: after every change of who has
  /// joined.
  void update_pinned() noexcept { ioas.context().shared().set_pinned(ioas.id(), pins()); }
  /// Completes the departure of a device that is out of the ring. Fails, stuck: an HWPT could not
  /// be destroyed.
  [[nodiscard]] result<void> finish_leave(const char* operation) noexcept {
    update_pinned();
    auto destroyed = tables.destroy_unused(operation, descriptor(), joined);
    // If that fails, the previous, narrower limits stay in force.
    static_cast<void>(ioas.read_limits());
    if (!destroyed) return failure(destroyed.error().with_failed_rollback());
    return {};
  }
  /// Fails: `still_in_use`, naming the first device with a BAR that is mapped.
  [[nodiscard]] result<void> check_no_bar_mapped(const char* operation) const noexcept {
    result<void> quiet{};
    static_cast<void>(joined.any_of([&](device const& one) noexcept {
      if (one.views.count() != 0) quiet = failure(why_in_use(operation, one));
      return !quiet.has_value();
    }));
    return quiet;
  }
  /// As `basic_iommufd::abandon`.
  [[nodiscard]] result<void> abandon() noexcept {
    if (auto quiet = check_no_bar_mapped("abandon"); !quiet) return quiet;
    while (auto* const one = joined.first()) {
      // If this fails, closing the device detaches it all the same.
      static_cast<void>(iommufd_hwpts<Kernel>::detach("abandon", *one));
      one->descriptor = {};
      one->attachment.context = nullptr;
      one->joined.leave();
    }
    update_pinned();
    if (auto gone = tables.destroy_unused("abandon", descriptor(), joined); !gone) return gone;
    if (auto unmapped = ioas.unmap(extent<io_address>::everything()); !unmapped) return unmapped;
    return ioas.destroy("abandon");
  }

  /// The error for a device of which a BAR is mapped.
  [[nodiscard]] static error why_in_use(const char* operation, device const& who) noexcept {
    return error{operation, errc::still_in_use}.of(who.name).advise(
        "{} of its BARs {is|are} still mapped", who.views.count());
  }

  vfio_sysfs sysfs;
  iommufd_ioas<Kernel> ioas;
  iommufd_hwpts<Kernel> tables{};
  ring_link<device> joined{};
};

}  // namespace tether::detail
