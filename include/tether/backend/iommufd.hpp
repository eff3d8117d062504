// SPDX-License-Identifier: BSL-1.0
// The kernel's newer interface: one I/O address space (IOAS) of an iommufd context is one
// container, and devices join it one by one, each by its own node (cdev). A device's consent to
// discards is known before anything can be pinned for it.
//
//     /dev/iommu (context) --ALLOC--> address space <--ATTACH-- device --BIND--> context
//                                       | MAP, MAP_FILE, COPY, UNMAP
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/backend/endpoint.hpp>
#include <tether/backend/iommufd/cdev.hpp>
#include <tether/backend/iommufd/container_state.hpp>
#include <tether/backend/iommufd/context.hpp>
#include <tether/backend/iommufd/uapi.hpp>
#include <tether/backend/vfio/cdev.hpp>
#include <tether/backend/vfio/device.hpp>
#include <tether/backend/vfio/locate.hpp>
#include <tether/backend/vfio/sysfs.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>
#include <tether/fwd.hpp>

#include <cerrno>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace tether {

/// `huge_pages`: whether the IOMMU may use pages larger than the host's smallest. Off makes every
/// translation slow, for measurements.
struct iommufd_options {
  bool huge_pages = true;  ///< off: every page has the smallest size
};

/// The backend: one container. Movable; its devices stay valid. The container's lock serialises it;
/// what containers share is kept in the context. Source: linux/iommufd.h. Cost: each call the ioctl
/// of its name, and one entry in two tables for each mapping.
template <class Kernel>
class basic_iommufd {
 public:
  static constexpr bool pins = true;
  static constexpr attach_unit unit = attach_unit::device;
  using endpoint_type = vfio_cdev;
  using device_type = basic_vfio_device<Kernel>;
  using kernel_type = Kernel;

  /// Fails: `bad_descriptor` where the context is no iommufd, EINVAL where the option is refused,
  /// the kernel's errno, not enough memory.
  [[nodiscard]] static result<basic_iommufd> open(basic_iommufd_context<Kernel> context,
                                                  vfio_sysfs sysfs = vfio_sysfs{},
                                                  iommufd_options options = {}) noexcept {
    TETHER_TRY {
      auto made = std::make_unique<state>(std::move(context), std::move(sysfs), options.huge_pages);
      if (auto there = made->ioas.allocate(); !there) return failure(there.error());
      return basic_iommufd{std::move(made)};
    }
    TETHER_CATCH(std::exception const&) { return failure(error::out_of_memory("open container")); }
  }

  /// On a context of its own, which it opens. Fails: as above, and as `iommufd_context::open`.
  [[nodiscard]] static result<basic_iommufd> open(vfio_sysfs sysfs = vfio_sysfs{}) noexcept {
    auto context = basic_iommufd_context<Kernel>::open(iommufd_accounting::as_it_is, sysfs);
    if (!context) return failure(context.error());
    return open(std::move(*context), std::move(sysfs));
  }

  /// Ensures: pinned when it returns, if a device that pins has joined; pages that another
  /// container of the context has pinned are shared. Fails, leaving nothing behind: `overlaps`,
  /// `outside_aperture`, `not_aligned`, `invalid_extent`, `access_denied`, `memory_gone`,
  /// `unsupported` for device memory; ENOMEM past the locked-memory limit. Stuck if the shared
  /// pages were being unmapped by another container, and the copy could not be rolled back.
  [[nodiscard]] result<void> map(mapping const& what) noexcept {
    return state_->ioas.map(what, file_source{});
  }
  /// The same, by the file if the kernel can (Linux 6.13) and accepts it; otherwise by its address.
  [[nodiscard]] result<void> map(mapping const& what, file_source from) noexcept {
    return state_->ioas.map(what, from);
  }
  /// Requires: `where` is whole mappings without a gap, or everything. Fails before any system
  /// call: `invalid_extent`, `cuts_a_mapping`, `not_mapped`. Fails in the kernel: its errno, stuck
  /// unless it was a single mapping; `byte_count_mismatch`, stuck.
  [[nodiscard]] result<void> unmap(extent<io_address> where) noexcept {
    return state_->ioas.unmap(where);
  }

  /// The host's page sizes, from the IOMMUs' alignment up. Read again after every join and leave,
  /// as the usable ranges are.
  [[nodiscard]] tether::page_sizes page_sizes() const noexcept { return state_->ioas.page_sizes(); }
  [[nodiscard]] std::span<extent<io_address> const> usable_iova() const noexcept {
    return state_->ioas.usable();
  }
  /// iommufd limits mappings by memory only.
  [[nodiscard]] std::uint64_t free_mappings() const noexcept {
    return std::numeric_limits<std::uint64_t>::max();
  }

  /// Whether a device that is not mediated has joined.
  [[nodiscard]] bool pins_now() const noexcept { return state_->pins(); }

  /// The device, by its own node. Fails: as `vfio_cdev::of`; what the path says.
  [[nodiscard]] result<endpoint_type> locate(endpoint const& device) const noexcept {
    return detail::locate_cdev(device, state_->sysfs);
  }
  /// How the device that the node leads to now pins: as `classify_cdev`. No side effects.
  [[nodiscard]] result<pin_class> classify(endpoint_type const& endpoint) const noexcept {
    return detail::classify_cdev<Kernel>(endpoint, state_->sysfs);
  }
  /// How the opened device pins: a node can be replaced between `classify(endpoint)` and `open`.
  [[nodiscard]] pin_class classify(device_type const& device) const noexcept {
    return device.state()->attachment.pins;
  }
  /// Opens its node, or duplicates its descriptor. The kernel refuses almost every request until it
  /// is bound. Fails, with nothing open: as `open_cdev`.
  [[nodiscard]] result<device_type> open(endpoint_type const& endpoint) noexcept {
    return detail::open_cdev<Kernel>(endpoint, state_->sysfs);
  }
  /// Binds it to the context: its regions can be used now, and its DMA is blocked. Nothing is
  /// pinned. Fails: `stale_handle`; `already_there`, also if another container or process has bound
  /// it; `bad_descriptor` if it is no device's own node, `still_in_use` naming what is in the way
  /// in its group, EBUSY; EACCES if it needs a token (`vfio_cdev::with_token`), EINVAL for a
  /// needless one; EPERM where interrupts are not isolated.
  [[nodiscard]] result<void> bind(device_type& device) noexcept {
    auto* const who = device.state();
    if (who == nullptr || who->descriptor.number() < 0)
      return failure(error{"bind device", errc::stale_handle});
    if (who->attachment.context != nullptr)
      return failure(error{"bind device", errc::already_there}.of(who->name));
    detail::iommufd_uapi::device_binding request{.iommufd = descriptor()};
    const auto answer = ask_to_bind(*who, request);
    if (answer < 0)
      return failure(detail::why_not_bound(*who, state_->sysfs, static_cast<int>(-answer)));
    who->attachment.context = &state_->ioas.context().shared();
    who->attachment.device = request.device;
    return {};
  }

  /// A pin point. Requires: `device` leaves before it is destroyed, or at least is destroyed before
  /// the same device joins again. Fails, leaving nothing behind: `stale_handle` if it is not bound,
  /// `already_there`, `outside_aperture`, `memory_gone`, the kernel's errno.
  [[nodiscard]] result<void> join(device_type& device) noexcept {
    auto* const who = device.state();
    if (!state_->is_bound(who))
      return failure(
          error{"join", errc::stale_handle}.advise("bind it to this container's context first"));
    if (!who->joined.alone()) return failure(error{"join", errc::already_there}.of(who->name));
    state& own = *state_;
    if (auto there = own.ioas.allocate(); !there) return there;
    if (auto attached = own.tables.attach(descriptor(), own.ioas.id(), *who, own.joined); !attached)
      return failure(own.ioas.why_not_joined(attached.error(), own.pins()));
    who->joined.join(own.joined);
    if (auto read = own.ioas.read_limits(); !read) {
      const error why = read.error().of(who->name);
      const auto left = own.tables.detach("join", *who);
      if (left) who->joined.leave();
      return failure(left && own.tables.destroy_unused("join", descriptor(), own.joined)
                         ? why
                         : why.with_failed_rollback());
    }
    own.update_pinned();
    return {};
  }
  /// Ensures: what is mapped stays mapped. While another device of its group is attached, the IOMMU
  /// cannot isolate the two: then only `close` ends this one's DMA. Fails, still joined:
  /// `stale_handle`, `still_in_use` while a BAR is mapped, the kernel's errno. Fails, having left:
  /// stuck, if a page table (HWPT) could not be destroyed, which goes on pinning.
  [[nodiscard]] result<void> leave(device_type& device) noexcept {
    auto* const who = device.state();
    if (!state_->is_bound(who) || !state_->joined.has(who->joined))
      return failure(error{"leave", errc::stale_handle});
    if (who->views.count() != 0) return failure(state::why_in_use("leave", *who));
    state& own = *state_;
    if (auto left = own.tables.detach("leave", *who); !left) return left;
    who->joined.leave();
    return own.finish_leave("leave");
  }
  /// Moves a device here that has joined `from`, on the same context, without a gap: its DMA is
  /// never blocked. A pin point. Fails, leaving it where it was: `stale_handle`, `already_there`,
  /// `still_in_use` while another device of its group has joined `from` (the kernel would move
  /// both), and as `join`; or, moved but stuck, as `leave`.
  [[nodiscard]] result<void> replace(basic_iommufd& from, device_type& device) noexcept {
    auto* const who = device.state();
    state& own = *state_;
    state& old = *from.state_;
    if (!state_->is_bound(who) || !old.joined.has(who->joined))
      return failure(error{"replace", errc::stale_handle});
    if (&own == &old) return failure(error{"replace", errc::already_there}.of(who->name));
    error neighbour = error{"replace", errc::still_in_use}.of(who->name);
    const bool is_alone = !old.joined.any_of([&](device_state const& one) noexcept {
      if (&one == who || one.attachment.group != who->attachment.group) return false;
      neighbour =
          neighbour.blocked_by(one.name)
              .advise("they are in the same group: the two can only move together");
      return true;
    });
    if (!is_alone) return failure(neighbour);
    if (auto there = own.ioas.allocate(); !there) return there;
    const std::uint32_t served_by = who->attachment.page_table;
    if (auto attached = own.tables.attach(descriptor(), own.ioas.id(), *who, own.joined); !attached)
      return failure(own.ioas.why_not_joined(attached.error(), own.pins()));
    if (auto read = own.ioas.read_limits(); !read) {
      const error why = read.error().of(who->name);
      const bool back = own.tables.attach_again(*who, old.ioas.id(), served_by).has_value();
      return failure(back && own.tables.destroy_unused("replace", descriptor(), own.joined)
                         ? why
                         : why.with_failed_rollback());
    }
    who->joined.join(own.joined);
    own.update_pinned();
    return old.finish_leave("replace");
  }
  /// Closes it, which undoes `bind`. Fails, still open: `stale_handle`; `still_in_use` if it has
  /// joined, or a BAR of it is mapped.
  [[nodiscard]] result<void> close(device_type& device) noexcept {
    auto* const who = device.state();
    if (who != nullptr && !who->joined.alone()) {
      return failure(error{"close device", errc::still_in_use}.of(who->name).advise(
          "it must leave its container first"));
    }
    auto closed = device.close();
    if (closed) who->attachment.context = nullptr;
    return closed;
  }
  /// While a BAR is mapped the kernel keeps the device busy.
  [[nodiscard]] bool tell_when_unused(device_type& device, unused_notice& who) noexcept {
    return device.tell_when_unused(who);
  }
  /// The descriptor that KVM's VFIO device is given before the bind. Negative once it is closed.
  [[nodiscard]] static int kvm_file(device_type const& device) noexcept {
    return device.descriptor();
  }

  /// Unmapping itself waits for the IOMMU. But through a mapped BAR a device's DMA can be started
  /// at any time: fails with `still_in_use`, naming the device.
  [[nodiscard]] result<void> quiesce() noexcept { return state_->check_no_bar_mapped("quiesce"); }
  /// Detaches and closes every device, unmaps everything, and destroys the page tables (HWPTs) and
  /// the IOAS; the next use allocates a new one. Fails, naming what stands in the way:
  /// `still_in_use` while a BAR is mapped; the kernel's errno.
  [[nodiscard]] result<void> abandon() noexcept { return state_->abandon(); }

  /// It was moved from: it may be assigned or destroyed, and nothing else.
  [[nodiscard]] bool is_moved_from() const noexcept { return state_ == nullptr; }

 private:
  using state = detail::iommufd_container_state<Kernel>;
  using device_state = typename state::device;

  explicit basic_iommufd(std::unique_ptr<state> made) noexcept : state_{std::move(made)} {}

  [[nodiscard]] int descriptor() const noexcept { return state_->descriptor(); }
  /// The kernel fills in the device's id. Without a token the request is the one of every kernel.
  static typename Kernel::answer ask_to_bind(
      device_state const& who, detail::iommufd_uapi::device_binding& request) noexcept {
    namespace abi = detail::iommufd_uapi;
    const int node = who.descriptor.number();
    if (!who.attachment.token) return detail::call_iommufd<Kernel>(node, abi::bind_device, request);
    auto const& token = who.attachment.token->bytes();
    abi::device_binding_with_token longer{.token = reinterpret_cast<std::uintptr_t>(token.data())};
    longer.plain.iommufd = request.iommufd;
    const auto answer = detail::call_iommufd<Kernel>(node, abi::bind_device_with_token, longer);
    request.device = longer.plain.device;
    return answer;
  }
  std::unique_ptr<state> state_;
};

/// The backend, on Linux itself.
using iommufd = basic_iommufd<>;

static_assert(backend<iommufd> && maps_files<iommufd> && has_kvm_file<iommufd> &&
              tells_when_unused<iommufd>);

}  // namespace tether
