// SPDX-License-Identifier: BSL-1.0
// A VFIO group on its way into a container and out again: opened, checked for viability, set,
// unset. Every error says what to do. The container that it joins: `type1_container.hpp`.
#pragma once

#include <tether/backend/detail/intrusive_ring.hpp>
#include <tether/backend/vfio/device_state.hpp>
#include <tether/backend/vfio/group.hpp>
#include <tether/backend/vfio/sysfs.hpp>
#include <tether/backend/vfio/vf_token.hpp>
#include <tether/core/error.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/kernel_handles.hpp>

#include <linux/vfio.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <utility>
#include <vector>

namespace tether::detail {

/// The advice for EBUSY where an IOMMU is attached. Source: `pci_dev_reset_iommu_prepare`, Linux 7.
inline constexpr const char* try_after_reset =
    "one of its devices is being reset: try again when that is done";

/// One open group. Its destructor closes it, which takes it out of its container.
template <class Kernel>
class joined_vfio_group {
 public:
  /// Opens a group, or duplicates its descriptor. Fails, with nothing open: EBUSY if another
  /// process or KVM has it, EACCES, ENOENT with what is missing; `no_such_device` if it was asked
  /// for by a device and the node is another group's; `bad_descriptor`; `already_there` if it is in
  /// a container; `still_in_use` if it is not viable, naming what is in the way.
  [[nodiscard]] static result<std::unique_ptr<joined_vfio_group>> open(vfio_group const& group,
                                                                       vfio_sysfs const& sysfs) {
    auto opened = std::make_unique<joined_vfio_group>();
    opened->name_ = group.name();
    opened->tokens_ = group.tokens();
    const auto answer = group.descriptor() >= 0 ? Kernel::duplicate(group.descriptor())
                                                : Kernel::call(SYS_openat, AT_FDCWD, group.path(),
                                                               O_RDWR | O_CLOEXEC, 0);
    if (answer < 0) return failure(why_not_open(group, sysfs, static_cast<int>(-answer)));
    opened->descriptor_ = kernel_descriptor<Kernel>{answer};
    struct stat node{};
    if (const auto looked = Kernel::fstat(opened->descriptor(), node); looked < 0) {
      return failure(why_not_open(group, sysfs, static_cast<int>(-looked)));
    }
    opened->number_ = sysfs.group_with_node(node_number(node));
    if (group.by_device() && !opened->number_.empty() && opened->number_ != group.number()) {
      const error why{"open group", errc::no_such_device};
      const std::uint64_t leads_to = minor(node.st_rdev);
      return failure(
          why.of(group.name())
              .advise("its node leads to another group, minor number {}: make the nodes anew",
                      leads_to));
    }
    if (sysfs.is_without_iommu(opened->number_)) return failure(why_not_without_iommu(group));
    vfio_group_status status{};
    status.argsz = sizeof status;
    if (const auto asked = opened->control(VFIO_GROUP_GET_STATUS, &status); asked < 0) {
      if (asked == -ENOTTY || asked == -EINVAL || asked == -EBADF) {
        return failure(error{"open group", errc::bad_descriptor}
                           .of(group.name())
                           .advise("it is not a VFIO group"));
      }
      return failure(error::from_errno("open group", static_cast<int>(-asked)).of(group.name()));
    }
    if ((status.flags & VFIO_GROUP_FLAGS_VIABLE) == 0) {
      const error why{"open group", errc::still_in_use};
      return failure(sysfs.why_not_viable(why, opened->number_, group.name()));
    }
    if ((status.flags & VFIO_GROUP_FLAGS_CONTAINER_SET) != 0) {
      return failure(error{"open group", errc::already_there}
                         .of(group.name())
                         .advise("it is in a container already"));
    }
    return opened;
  }

  [[nodiscard]] std::string_view name() const noexcept { return name_; }
  /// The number in sysfs of the group that was opened, as text, whatever its node was called; empty
  /// where sysfs does not tell.
  [[nodiscard]] std::string_view number() const noexcept { return number_; }
  /// The group's own descriptor: open until `close`, because KVM's VFIO device may have to drop it
  /// after it has left.
  [[nodiscard]] int descriptor() const noexcept { return descriptor_.number(); }
  /// The token that a device is opened with; null: none.
  [[nodiscard]] vf_token const* token_of(std::string_view device) const noexcept {
    const auto at = std::ranges::find(
        tokens_, device, [](auto const& one) -> std::string_view { return one.first; });
    return at == tokens_.end() ? nullptr : &at->second;
  }
  [[nodiscard]] bool in_container() const noexcept { return in_container_; }

  /// A pin point. `first`: nothing is mapped in the container yet. Fails, still outside: the
  /// kernel's errno, EBUSY to be tried again; `outside_aperture` if what is mapped does not suit
  /// this group's IOMMU, which only the join reveals (law 13; ERANGE since Linux 7).
  [[nodiscard]] result<void> enter(int container, bool first) noexcept {
    const auto answer = control(VFIO_GROUP_SET_CONTAINER, &container);
    if (answer >= 0) {
      in_container_ = true;
      return {};
    }
    if (!first && (answer == -EINVAL || answer == -EFAULT || answer == -ERANGE)) {
      return failure(error{"join", errc::outside_aperture}.of(name_).advise(
          answer == -EFAULT
              ? "something is mapped where this group's IOMMU cannot reach, or its memory is gone"
              : "something is mapped where this group's IOMMU cannot reach"));
    }
    const auto why = error::from_errno("join", static_cast<int>(-answer)).of(name_);
    if (answer == -EBUSY) return failure(why.advise(try_after_reset));
    return failure(why);
  }

  /// A device of it is open in an iommufd that stands in for the container, whose group the kernel
  /// would let leave all the same. Until the device leaves the ring of these.
  void add_open(vfio_device_state<Kernel>& device) noexcept { device.joined.join(open_); }
  [[nodiscard]] bool has_open() const noexcept { return !open_.alone(); }

  /// Fails, still inside: `still_in_use` while a device of it is open, a BAR mapped, or KVM has it;
  /// the kernel's errno.
  [[nodiscard]] result<void> leave(const char* operation) noexcept {
    const auto answer =
        has_open() ? -EBUSY : Kernel::call(SYS_ioctl, descriptor(), VFIO_GROUP_UNSET_CONTAINER);
    if (answer < 0) {
      const error why = answer == -EBUSY ? error{operation, errc::still_in_use}
                                         : error::from_errno(operation, static_cast<int>(-answer));
      return failure(why.of(name_).advise("close its devices and unmap their BARs first"));
    }
    in_container_ = false;
    return {};
  }
  /// Closes the descriptor, and so releases the group. Requires: it has left.
  void close() noexcept { descriptor_ = {}; }

 private:
  typename Kernel::answer control(unsigned long request, void* argument) const noexcept {
    return Kernel::call(SYS_ioctl, descriptor(), request, argument);
  }
  /// type1 refuses it (SET_IOMMU: ENODEV): what would be mapped has no IOMMU to go through.
  static error why_not_without_iommu(vfio_group const& group) noexcept {
    return error{"open group", errc::unsupported}.of(group.name()).advise(turn_on_iommu);
  }
  static error why_not_open(vfio_group const& group, vfio_sysfs const& sysfs, int number) {
    const auto why = error::from_errno("open group", number).of(group.name());
    if (number == ENOENT || number == ENODEV) return why.advise(sysfs.why_no_group(group.number()));
    if (number == EPERM && sysfs.is_without_iommu(group.number()))
      return why_not_without_iommu(group);
    if (number == EACCES || number == EPERM)
      return why.advise("give this user the right to open the group's node");
    if (number == EBUSY) return why.advise("another process, or KVM, still has the group");
    return why;
  }

  std::string name_;
  std::string number_;
  std::vector<std::pair<std::string, vf_token>> tokens_;
  kernel_descriptor<Kernel> descriptor_;
  bool in_container_ = false;
  ring_link<vfio_device_state<Kernel>> open_{};
};

}  // namespace tether::detail
