// SPDX-License-Identifier: BSL-1.0
// The page tables (HWPTs) of one IOAS: each serves the devices with compatible IOMMUs. Only the
// kernel knows which one fits, so a device tries the existing ones, then a new one of its own, and
// finally leaves the choice to the kernel.
//
//     IOAS --+-- page table 1 --+-- nic       EINVAL: it does not fit, try the next
//            |                  +-- disk
//            +-- page table 2 ----- gpu
//            +-- (none) ----------- vgpu      a mediated device is attached to the IOAS itself
#pragma once

#include <tether/backend/detail/intrusive_ring.hpp>
#include <tether/backend/iommufd/context.hpp>
#include <tether/backend/iommufd/uapi.hpp>
#include <tether/backend/vfio/device_state.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <vector>

namespace tether::detail {

/// The advice for EPERM, at a bind or an attach.
inline constexpr const char* isolate_interrupts =
    "the platform does not isolate interrupts: see iommufd's allow_unsafe_interrupts";

/// Not thread-safe: the container's lock guards it. An HWPT without users is destroyed: it would go
/// on pinning, and a device attached to it later would find pages in it that have been discarded
/// meanwhile.
template <class Kernel>
class iommufd_hwpts {
 public:
  using device = vfio_device_state<Kernel>;
  using ring = ring_link<device>;

  /// How many have been allocated here.
  [[nodiscard]] std::size_t size() const noexcept { return ids_.size(); }

  /// A pin point. A device that is attached elsewhere moves here without a gap. Fails, leaving it
  /// where it was: `outside_aperture` if something is mapped where its IOMMU cannot reach, the
  /// kernel's errno; stuck if a new page table could not be destroyed again.
  [[nodiscard]] result<void> attach(int context, std::uint32_t ioas, device& who,
                                    ring const& joined) noexcept {
    if (who.attachment.pins == pin_class::pins) {
      for (const std::uint32_t id : ids_) {
        if (!is_used(id, joined)) continue;
        const auto answer = ask_to_attach(who, id);
        if (answer >= 0) return set_page_table(who, id);
        if (!tries_another(answer)) return failure(why_not_joined(who, static_cast<int>(-answer)));
      }
      const auto own = attach_to_new(context, ioas, who);
      if (!own) return failure(own.error());
      if (*own) return {};
    }
    const auto answer = ask_to_attach(who, ioas);
    if (answer >= 0) return set_page_table(who, 0);
    return failure(why_not_joined(who, static_cast<int>(-answer)));
  }
  /// Rolls a move back: attaches it to its previous HWPT, or to the IOAS if that is 0. Fails: the
  /// kernel's errno.
  [[nodiscard]] static result<void> attach_again(device& who, std::uint32_t ioas,
                                                 std::uint32_t page_table) noexcept {
    const auto answer = ask_to_attach(who, page_table != 0 ? page_table : ioas);
    if (answer >= 0) return set_page_table(who, page_table);
    return failure(why_not_joined(who, static_cast<int>(-answer)));
  }
  /// Fails, still attached: the kernel's errno.
  [[nodiscard]] static result<void> detach(const char* operation, device& who) noexcept {
    iommufd_uapi::device_detachment request{};
    const auto answer =
        call_iommufd<Kernel>(who.descriptor.number(), iommufd_uapi::detach_device, request);
    if (answer < 0)
      return failure(error::from_errno(operation, static_cast<int>(-answer)).of(who.name));
    return set_page_table(who, 0);
  }

  /// Destroys those without users. Fails: the kernel's errno, after trying all of them; what is
  /// left is retried next time.
  [[nodiscard]] result<void> destroy_unused(const char* operation, int context,
                                            ring const& joined) noexcept {
    result<void> done;
    std::erase_if(ids_, [&](std::uint32_t id) noexcept {
      if (is_used(id, joined)) return false;
      auto destroyed = destroy(operation, context, id);
      if (!destroyed) done = destroyed;
      return destroyed.has_value();
    });
    return done;
  }

 private:
  /// EINVAL: its IOMMU needs another HWPT. ENOENT: no such object. EOPNOTSUPP: not for this kind of
  /// device. ENOTTY: not in this kernel (before 6.6).
  static bool tries_another(typename Kernel::answer answer) noexcept {
    return answer == -EINVAL || answer == -ENOENT || answer == -EOPNOTSUPP || answer == -ENOTTY;
  }
  static bool is_used(std::uint32_t id, ring const& joined) noexcept {
    return joined.any_of(
        [id](device const& one) noexcept { return one.attachment.page_table == id; });
  }
  /// Records which HWPT a device uses. Never fails.
  static result<void> set_page_table(device& who, std::uint32_t id) noexcept {
    who.attachment.page_table = id;
    return {};
  }
  static typename Kernel::answer ask_to_attach(device const& who, std::uint32_t id) noexcept {
    iommufd_uapi::device_attachment request{.page_table = id};
    return call_iommufd<Kernel>(who.descriptor.number(), iommufd_uapi::attach_device, request);
  }
  static result<void> destroy(const char* operation, int context, std::uint32_t id) noexcept {
    iommufd_uapi::object gone{.id = id};
    const auto answer = call_iommufd<Kernel>(context, iommufd_uapi::destroy, gone);
    if (answer >= 0) return {};
    return failure(error::from_errno(operation, static_cast<int>(-answer))
                       .of("page table")
                       .advise("number {}", id));
  }

  /// Attaches it to a new HWPT. False: that does not fit, but something else may.
  result<bool> attach_to_new(int context, std::uint32_t ioas, device& who) noexcept {
    if (!make_room(ids_)) return failure(error::out_of_memory("join").of(who.name));
    iommufd_uapi::new_page_table made{.device = who.attachment.device, .ioas = ioas};
    const auto allocated = call_iommufd<Kernel>(context, iommufd_uapi::allocate_page_table, made);
    if (allocated < 0) {
      if (tries_another(allocated)) return false;
      return failure(why_not_joined(who, static_cast<int>(-allocated)));
    }
    ids_.push_back(made.page_table);
    const auto answer = ask_to_attach(who, made.page_table);
    if (answer >= 0) {
      static_cast<void>(set_page_table(who, made.page_table));
      return true;
    }
    const error why = why_not_joined(who, static_cast<int>(-answer));
    if (!destroy("join", context, made.page_table)) return failure(why.with_failed_rollback());
    ids_.pop_back();
    if (tries_another(answer)) return false;
    return failure(why);
  }

  [[gnu::cold]] static error why_not_joined(device const& who, int number) noexcept {
    const auto why = error::from_errno("join", number).of(who.name);
    switch (number) {
      case EADDRINUSE:
      case ERANGE:
        return error{"join", errc::outside_aperture}.of(who.name).advise(
            "something is mapped where this device's IOMMU cannot reach");
      case EFAULT:
        return error{"join", errc::memory_gone}.of(who.name).advise(
            "something that is mapped cannot be pinned, or lies where its IOMMU cannot reach");
      case EPERM: return why.advise(isolate_interrupts);
      case EINVAL:
        return why.advise(
            "another device of its group is attached elsewhere, or its IOMMU has no pages as small "
            "as the host's");
      case EBUSY:
        return why.advise(
            "another device of its group is attached elsewhere, or is being reset: then try again "
            "when that is done");
      default: return why;
    }
  }

  std::vector<std::uint32_t> ids_;
};

}  // namespace tether::detail
