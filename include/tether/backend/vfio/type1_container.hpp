// SPDX-License-Identifier: BSL-1.0
// The descriptor of a type1 container: opened for the first group that joins, closed after the last
// has left, and in between asked what it can map.
//
//     closed --open--> no IOMMU --(a group is set)--> set_iommu ----> maps, unmaps
//       ^                 |                                                |
//       +---- close <-----+------------------------------------------------+
//
// Where Linux was built so, or the node is a link to /dev/iommu, an iommufd stands in for it, which
// differs: a join pins nothing and brings no limits, opening the first device does.
#pragma once

#include <tether/backend/vfio/capability_chain.hpp>
#include <tether/backend/vfio/joined_group.hpp>
#include <tether/backend/vfio/type1_info.hpp>
#include <tether/core/detail/locked_memory.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/kernel_handles.hpp>

#include <linux/vfio.h>

#include <cerrno>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>

namespace tether::detail {

/// Not thread-safe: the container's lock guards it. Closed when destroyed, with which the kernel
/// drops every mapping.
template <class Kernel>
class vfio_type1_container {
 public:
  [[nodiscard]] bool is_open() const noexcept { return descriptor_.number() >= 0; }
  /// Negative while it is closed.
  [[nodiscard]] int descriptor() const noexcept { return descriptor_.number(); }
  /// Whether an iommufd stands in for the container. Known once `set_iommu` was called.
  [[nodiscard]] bool is_iommufd() const noexcept { return is_iommufd_; }

  /// Fails, still closed: `unsupported` without type1v2, the kernel's errno.
  [[nodiscard]] result<void> open() noexcept {
    const auto answer = Kernel::call(SYS_openat, AT_FDCWD, node, O_RDWR | O_CLOEXEC, 0);
    if (answer < 0) {
      const auto why = error::from_errno("open container", static_cast<int>(-answer)).of(node);
      if (answer == -EACCES || answer == -EPERM)
        return failure(why.advise("give this user the right to open the node"));
      const bool absent = answer == -ENOENT || answer == -ENODEV || answer == -ENXIO;
      return failure(absent ? why.advise("load the vfio and vfio_iommu_type1 modules") : why);
    }
    kernel_descriptor<Kernel> opened{answer};
    if (Kernel::call(SYS_ioctl, opened.number(), VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
        Kernel::call(SYS_ioctl, opened.number(), VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1) {
      const error why{"open container", errc::unsupported};
      return failure(
          why.of(node).advise("this kernel has no type1v2 IOMMU: load vfio_iommu_type1"));
    }
    descriptor_ = std::move(opened);
    return {};
  }
  void close() noexcept {
    descriptor_ = {};
    is_iommufd_ = false;
  }

  /// Makes it a type1v2 IOMMU, and reads its limits. Requires: `first`, the name of the only group
  /// in it, has just been set. Fails: the kernel's errno, as `read_info`.
  [[nodiscard]] result<vfio_type1_info> set_iommu(std::string_view first) noexcept {
    const auto answer =
        Kernel::call(SYS_ioctl, descriptor_.number(), VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU);
    if (answer >= 0) {
      auto info = read_info();
      is_iommufd_ = info && info->available == without_limit && has_ioas();
      return info;
    }
    const auto why = error::from_errno("set IOMMU", static_cast<int>(-answer)).of(first);
    if (answer == -EPERM)
      return failure(
          why.advise("the platform does not isolate interrupts: see allow_unsafe_interrupts"));
    return failure(answer == -EBUSY ? why.advise(try_after_reset) : why);
  }

  /// Fails: the kernel's errno, as `parse_type1_info`.
  [[nodiscard]] result<vfio_type1_info> read_info() const noexcept {
    const auto said = ask_with_room(
        "read IOMMU info", vfio_iommu_type1_info{}, malformed_info(),
        [this](void* question) noexcept { return control(VFIO_IOMMU_GET_INFO, question); });
    if (!said) return failure(said.error());
    return parse_type1_info(*said, {Kernel::page_size()});
  }

  /// Reads the limits anew. Fails, changing nothing: as `read_info`.
  result<void> update(vfio_type1_info& limits) const noexcept {
    auto info = read_info();
    if (!info) return failure(info.error());
    limits = std::move(*info);
    return {};
  }
  /// What stands in the way of a device that is attached to an iommufd when it is opened. `first`:
  /// that pins all that is mapped.
  [[nodiscard, gnu::cold]] static error why_not_attached(error const& why, bool first) noexcept {
    if (why.is_errno(ENOMEM) && first)
      return advise_on_locked_memory<Kernel>(why, locked_by::process, 0);
    if (!why.is_errno(EADDRINUSE) && !why.is_errno(ERANGE)) return why;
    const error beyond{why.operation(), errc::outside_aperture};
    return beyond.of(why.subject())
        .advise("something is mapped where this device's IOMMU cannot reach");
  }

  /// Unmaps all of it: one call if the kernel has it (5.12), else two halves: 2^64 does not fit
  /// into a size. Fails: the kernel's errno; stuck if the first half is gone.
  [[nodiscard, gnu::cold]] result<void> unmap_everything() noexcept {
    constexpr std::uint64_t half = std::uint64_t{1} << 63;
    const bool at_once =
        Kernel::call(SYS_ioctl, descriptor_.number(), VFIO_CHECK_EXTENSION, VFIO_UNMAP_ALL) == 1;
    for (const std::uint64_t from : {std::uint64_t{0}, half}) {
      vfio_iommu_type1_dma_unmap request{};
      request.argsz = sizeof request;
      request.flags = at_once ? unsigned{VFIO_DMA_UNMAP_FLAG_ALL} : 0U;
      request.iova = from;
      request.size = at_once ? 0 : half;
      if (const auto answer = control(VFIO_IOMMU_UNMAP_DMA, &request); answer < 0) {
        const auto why = error::from_errno("unmap", static_cast<int>(-answer))
                             .at(extent<io_address>::everything());
        return failure(from == 0 ? why : why.with_failed_rollback());
      }
      if (at_once) break;
    }
    return {};
  }

  /// One ioctl of the container. Returns a value, or the negative errno.
  [[nodiscard]] typename Kernel::answer control(unsigned long request,
                                                void* argument) const noexcept {
    return Kernel::call(SYS_ioctl, descriptor_.number(), request, argument);
  }

 private:
  static constexpr const char* node = "/dev/vfio/vfio";
  /// What an iommufd answers for the number of mappings that are left.
  static constexpr std::uint32_t without_limit = std::numeric_limits<std::uint32_t>::max();

  /// Asks what only an iommufd can answer. Source: `struct iommu_vfio_ioas`, op 0: get.
  [[nodiscard]] bool has_ioas() const noexcept {
    struct {
      std::uint32_t size = 12, ioas = 0;
      std::uint16_t operation = 0, reserved = 0;
    } question;
    return control(_IO(';', 0x88), &question) >= 0;
  }

  kernel_descriptor<Kernel> descriptor_{};
  bool is_iommufd_ = false;
};

}  // namespace tether::detail
