// SPDX-License-Identifier: BSL-1.0
// VFIO's own container: type1v2, the IOMMU interface of every Linux that passes PCI devices
// through. A group joins a container with one call, and that call pins everything that is mapped
// already.
//
//     /dev/vfio/vfio (container) <--SET_CONTAINER-- /dev/vfio/12 (group) --GET_DEVICE_FD--> device
//            | SET_IOMMU, MAP_DMA, UNMAP_DMA
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/backend/detail/mapping_checks.hpp>
#include <tether/backend/endpoint.hpp>
#include <tether/backend/vfio/device.hpp>
#include <tether/backend/vfio/group.hpp>
#include <tether/backend/vfio/joined_group.hpp>
#include <tether/backend/vfio/locate.hpp>
#include <tether/backend/vfio/sysfs.hpp>
#include <tether/backend/vfio/type1_container.hpp>
#include <tether/backend/vfio/type1_info.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/detail/locked_memory.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>
#include <tether/fwd.hpp>

#include <linux/vfio.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace tether {

/// The backend: one container. Movable; its groups and devices stay valid. The container's lock
/// serialises it. The kernel drops every mapping when the last group leaves, so the container's
/// descriptor is closed then. Source: linux/vfio.h. Cost: each call exactly the ioctl of its name.
template <class Kernel>
class basic_vfio_type1 {
 public:
  static constexpr bool pins = true;
  static constexpr attach_unit unit = attach_unit::group;
  static constexpr bool open_may_pin = true;  // where an iommufd stands in
  using group_type = vfio_group;
  using joined_group = std::unique_ptr<detail::joined_vfio_group<Kernel>>;
  using device_type = basic_vfio_device<Kernel>;
  using kernel_type = Kernel;

  /// Opens nothing yet. `sysfs`: where devices are found.
  explicit basic_vfio_type1(vfio_sysfs sysfs = vfio_sysfs{}) : sysfs_{std::move(sysfs)} {
    reset_limits();
  }

  /// Ensures: pinned when it returns, if a group that pins has joined. Fails, leaving nothing
  /// behind: `overlaps`, `over_budget`, `outside_aperture`, `not_aligned`, `invalid_extent`,
  /// `access_denied`, `memory_gone`; ENOMEM past the locked-memory limit.
  [[nodiscard]] result<void> map(mapping const& what) noexcept {
    vfio_iommu_type1_dma_map request{};
    request.argsz = sizeof request;
    request.flags = (allows(what.rights, access::read) ? unsigned{VFIO_DMA_MAP_FLAG_READ} : 0U) |
                    (allows(what.rights, access::write) ? unsigned{VFIO_DMA_MAP_FLAG_WRITE} : 0U);
    request.vaddr = what.host.value;
    request.iova = what.where.first.value;
    request.size = what.where.size();
    info_.available.reset();
    const auto answer = container_.control(VFIO_IOMMU_MAP_DMA, &request);
    if (answer >= 0) [[likely]]
      return {};
    return failure(why_not(what, static_cast<int>(-answer)));
  }

  /// Requires: `where` is whole mappings without a gap, or everything. Fails, having removed
  /// nothing: `invalid_extent`; the kernel's errno (EINVAL where it would cut a mapping);
  /// `byte_count_mismatch`, stuck, if it removed another number of bytes.
  [[nodiscard]] result<void> unmap(extent<io_address> where) noexcept {
    vfio_iommu_type1_dma_unmap request{};
    request.argsz = sizeof request;
    request.iova = where.first.value;
    request.size = where.size();
    info_.available.reset();
    if (where.is_everything()) [[unlikely]]
      return container_.unmap_everything();
    const auto answer = container_.control(VFIO_IOMMU_UNMAP_DMA, &request);
    if (answer < 0) [[unlikely]]
      return failure(detail::why_not_unmapped(where, static_cast<int>(-answer)));
    if (request.size != where.size()) [[unlikely]] {
      const error why{"unmap", errc::byte_count_mismatch};
      return failure(why.at(where)
                         .advise("the kernel unmapped {} byte{|s}", request.size)
                         .with_failed_rollback());
    }
    return {};
  }

  /// The smallest is every mapping's alignment. Read again at each join and leave, as the ranges.
  [[nodiscard]] tether::page_sizes page_sizes() const noexcept { return info_.page_sizes; }
  [[nodiscard]] std::span<extent<io_address> const> usable_iova() const noexcept {
    return info_.usable;
  }
  /// The kernel's count; before 5.10, while nothing has joined, or where it cannot be read: its
  /// limit, and the kernel refuses by name what does not fit.
  [[nodiscard]] std::uint64_t free_mappings() const noexcept {
    if (info_.available) return *info_.available;  // nothing was mapped since it was read
    if (container_.is_open()) {
      if (const auto info = container_.read_info(); info && info->available)
        return *info->available;
    }
    return sysfs_.mapping_limit();
  }

  /// The group of a device, and its name there. Fails: as `vfio_group::of`; what the path says.
  [[nodiscard]] result<device_in_group<group_type>> locate(endpoint const& device) const noexcept {
    return detail::locate_in_group(device, sysfs_);
  }
  /// Opens a group, outside any container, so that KVM can be told of it before it joins. Fails,
  /// with nothing open: `already_there`, as `joined_vfio_group::open`.
  [[nodiscard]] result<joined_group> acquire(group_type const& group) noexcept {
    TETHER_TRY {
      if (std::ranges::any_of(groups_,
                              [&](auto const* one) { return one->name() == group.name(); })) {
        return failure(error{"join", errc::already_there}.of(group.name()));
      }
      return detail::joined_vfio_group<Kernel>::open(group, sysfs_);
    }
    TETHER_CATCH(std::exception const&) {
      return failure(error::out_of_memory("join").of(group.name()));
    }
  }
  /// A pin point. Requires: acquired, and it leaves before it is destroyed, unless the backend is
  /// not used any more. Fails, leaving nothing behind: as `joined_vfio_group::enter`, `unsupported`
  /// without type1v2, the kernel's errno. Stuck, if it could not be taken out again: it counts as
  /// joined until `abandon` has taken it out, and is not destroyed before.
  [[nodiscard]] result<void> join(joined_group& joined) noexcept {
    if (!detail::make_room(groups_))
      return failure(error::out_of_memory("join").of(joined->name()));
    const bool first = !container_.is_open();
    if (first) {
      if (auto opened = container_.open(); !opened) return opened;
    }
    auto inside = joined->enter(container_.descriptor(), first);
    if (!inside) {
      // Where nothing was pinned until now, the join pins all that is mapped.
      if (inside.error().is_errno(ENOMEM) && !first && !pins_now())
        inside = failure(
            detail::advise_on_locked_memory<Kernel>(inside.error(), detail::locked_by::process, 0));
    } else {
      auto info = first ? container_.set_iommu(joined->name()) : container_.read_info();
      if (info) {
        info_ = std::move(*info);
      } else {
        const error why = info.error().of(joined->name());
        inside = failure(joined->leave("join") ? why : why.with_failed_rollback());
      }
    }
    if (joined->in_container()) groups_.push_back(joined.get());
    else if (first) container_.close();
    return inside;
  }
  /// `acquire` and `join` in one. A group that is stuck stays the backend's.
  [[nodiscard]] result<joined_group> join(group_type const& group) noexcept {
    if (!detail::make_room(stuck_)) return failure(error::out_of_memory("join").of(group.name()));
    auto joined = acquire(group);
    if (!joined) return joined;
    auto inside = join(*joined);
    if (inside) return joined;
    if (is_in(*joined)) stuck_.push_back(std::move(*joined));
    return failure(inside.error());
  }
  /// The descriptor that KVM's VFIO device is given. Open until the handle is destroyed.
  [[nodiscard]] static int kvm_file(joined_group const& joined) noexcept {
    return joined->descriptor();
  }

  /// Ensures: what is mapped stays mapped, unless it was the last group; the group's descriptor is
  /// closed with the handle. Fails, still joined: `still_in_use` while a device of it is open or
  /// one of its BARs mapped; `stale_handle`.
  [[nodiscard]] result<void> leave(joined_group& joined) noexcept {
    if (!is_in(joined)) return failure(error{"leave", errc::stale_handle});
    if (auto left = joined->leave("leave"); !left) return left;
    std::erase(groups_, joined.get());
    if (groups_.empty()) {
      container_.close();
      reset_limits();
    } else {
      static_cast<void>(container_.update(info_));  // else the narrower limits stay in force
    }
    return {};
  }

  /// Whether a group behind an IOMMU (not mediated) has joined; where an iommufd stands in for the
  /// container: and has a device open. Cost: reads sysfs.
  [[nodiscard]] bool pins_now() const noexcept {
    return std::ranges::any_of(groups_, [&](auto const* one) {
      return (!container_.is_iommufd() || one->has_open()) &&
             sysfs_.pins(one->number()) == pin_class::pins;
    });
  }

  /// Fails: `stale_handle`; as `vfio_sysfs::pins`.
  [[nodiscard]] result<pin_class> classify(joined_group const& joined,
                                           std::string_view name) const noexcept {
    if (!is_in(joined)) return failure(error{"open device", errc::stale_handle}.of(name));
    return sysfs_.pins(joined->number(), name);
  }
  /// With the token that the group was given for it (`vfio_group::with_token`). Where an iommufd
  /// stands in for the container, the first device is the pin point, and brings the limits. Fails,
  /// leaving nothing behind: `stale_handle`, `no_such_device`, EACCES if it needs a token, the
  /// kernel's errno; at such a pin point as a join.
  [[nodiscard]] result<device_type> open(joined_group& joined, std::string_view name) noexcept {
    if (!is_in(joined)) return failure(error{"open device", errc::stale_handle}.of(name));
    auto opened = device_type::open(joined->descriptor(), name, joined->token_of(name));
    if (!container_.is_iommufd()) [[likely]]
      return opened;
    if (!opened) return failure(container_.why_not_attached(opened.error(), !pins_now()));
    joined->add_open(*opened->state());
    if (auto read = container_.update(info_); !read) return failure(read.error().of(name));
    return opened;
  }
  /// Fails, still open: `still_in_use` while a BAR is mapped.
  [[nodiscard]] result<void> close(device_type& device) noexcept {
    auto closed = device.close();
    if (closed && container_.is_iommufd()) {
      device.state()->joined.leave();
      static_cast<void>(container_.update(info_));  // else the narrower limits stay in force
    }
    return closed;
  }

  /// While a BAR is mapped the kernel keeps the device busy.
  [[nodiscard]] bool tell_when_unused(device_type& device, unused_notice& who) noexcept {
    return device.tell_when_unused(who);
  }
  /// Nothing to do: a closed device does no DMA (vfio-pci clears its bus mastering), and unmapping
  /// itself waits for the IOMMU.
  [[nodiscard]] result<void> quiesce() noexcept { return {}; }

  /// Detaches all groups, those too whose join got stuck, and closes the container: nothing stays
  /// mapped. Fails: as `leave`, naming the group.
  [[nodiscard]] result<void> abandon() noexcept {
    while (!groups_.empty()) {
      if (auto left = groups_.back()->leave("abandon"); !left) return left;
      groups_.back()->close();
      groups_.pop_back();
    }
    stuck_.clear();
    container_.close();
    reset_limits();
    return {};
  }

  /// It was moved from: it may be assigned or destroyed, and nothing else.
  [[nodiscard]] bool is_moved_from() const noexcept { return info_.usable.empty(); }

 private:
  static bool is_in(joined_group const& joined) noexcept {
    return joined != nullptr && joined->in_container();
  }

  /// The limits while no group has joined: every IOVA is usable. Allocates only in the constructor.
  void reset_limits() noexcept {
    info_.page_sizes = {Kernel::page_size()};
    info_.usable.assign(1, extent<io_address>::everything());
    info_.available.reset();
  }

  [[gnu::cold]] error why_not(mapping const& what, int number) const noexcept {
    if (number == ENOSPC)
      return error{"map", errc::over_budget}
          .at(what.where)
          .advise("raise vfio_iommu_type1.dma_entry_limit, or use larger blocks");
    if (number == ENOMEM) {
      return detail::advise_on_locked_memory<Kernel>(
          error::from_errno("map", number).at(what.where), detail::locked_by::process,
          what.where.size());
    }
    return detail::why_not_mapped<Kernel>(what, number, info_.page_sizes.smallest(), info_.usable);
  }

  vfio_sysfs sysfs_;
  detail::vfio_type1_container<Kernel> container_{};
  detail::vfio_type1_info info_{};
  std::vector<detail::joined_vfio_group<Kernel>*> groups_;  // all that are in the container
  std::vector<joined_group> stuck_;                         // of those, the ones that no caller has
};

/// The backend, on Linux itself.
using vfio_type1 = basic_vfio_type1<>;

static_assert(backend<vfio_type1> && has_kvm_file<vfio_type1> && tells_when_unused<vfio_type1>);

}  // namespace tether
