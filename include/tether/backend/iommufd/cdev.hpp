// SPDX-License-Identifier: BSL-1.0
// Which device is behind a node (cdev). It need not be the one that sysfs has under the node's
// name: nodes can be stale, are remapped in OS containers, and can be replaced at any time. The
// device number (st_rdev) of what was opened decides.
//
//     path --stat---------> 510:2 --/sys/dev/char--> 0000:01:00.0 --subsystem--> pci: it pins
//     path --open, fstat--> 510:2 ---- the same, for the device that was opened and is kept
#pragma once

#include <tether/backend/iommufd/hwpts.hpp>
#include <tether/backend/vfio/cdev.hpp>
#include <tether/backend/vfio/device.hpp>
#include <tether/backend/vfio/device_state.hpp>
#include <tether/backend/vfio/sysfs.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/kernel_handles.hpp>

#include <cerrno>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <system_error>
#include <utility>

namespace tether::detail {

/// How an endpoint pins whose node turned out to be the device `found`: on demand if and only if
/// that is mediated; the rest of its group does not count, because each device joins alone. If the
/// node's number is not that of the device whose name was given, the name is unverified, and what
/// cannot be established pins (law 1).
[[nodiscard]] inline pin_class pins_as(vfio_cdev const& endpoint, std::string const& found,
                                       vfio_sysfs const& sysfs) {
  const bool unverified =
      (endpoint.by_name() || endpoint.descriptor() >= 0) && found != endpoint.name();
  return !unverified && sysfs.is_mediated(found) ? pin_class::pins_on_demand : pin_class::pins;
}

/// How the device that an endpoint leads to now pins. Opens nothing.
template <class Kernel>
[[nodiscard]] pin_class classify_cdev(vfio_cdev const& endpoint, vfio_sysfs const& sysfs) noexcept {
  TETHER_TRY {
    struct stat node{};
    const auto looked = endpoint.descriptor() >= 0 ? Kernel::fstat(endpoint.descriptor(), node)
                                                   : Kernel::stat(endpoint.path(), node);
    return looked < 0 ? pin_class::pins
                      : pins_as(endpoint, sysfs.device_with_node(node_number(node)), sysfs);
  }
  TETHER_CATCH(std::exception const&) { return pin_class::pins; }
}

[[nodiscard]] inline error why_not_open(vfio_cdev const& endpoint, vfio_sysfs const& sysfs,
                                        int number) {
  const auto why = error::from_errno("open device", number).of(endpoint.name());
  if (number == ENOENT || number == ENODEV || number == ENXIO) {
    const std::string_view path = endpoint.path();
    return why.advise(sysfs.why_no_node(path.substr(path.rfind('/') + 1)));
  }
  if (number == EACCES || number == EPERM)
    return why.advise("give this user the right to open the device's node");
  return why;
}

/// Why a device was not bound: asks sysfs what the kernel tells with one errno.
template <class Kernel>
[[nodiscard, gnu::cold]] error why_not_bound(vfio_device_state<Kernel> const& who,
                                             vfio_sysfs const& sysfs, int number) noexcept {
  TETHER_TRY {
    const auto why = error::from_errno("bind device", number).of(who.name);
    const bool with_token = who.attachment.token.has_value();
    if (number == EACCES) {
      return why.advise(
          with_token ? "it wants another VF token: the one that its physical function was given"
                     : "it wants a VF token, the one that its physical function was given: name it "
                       "with vfio_cdev::with_token()");
    }
    if (number == EINVAL && with_token) {
      return why.advise(
          "it wants no VF token, or this kernel takes none here (Linux 6.17): then use vfio_type1");
    }
    if (number == EPERM) return why.advise(isolate_interrupts);
    struct stat node{};
    const bool is_own_node = Kernel::fstat(who.descriptor.number(), node) >= 0 &&
                             !sysfs.device_with_node(node_number(node)).empty();
    if (number == EINVAL && is_own_node) {
      return error{"bind device", errc::already_there}.of(who.name).advise(
          "another container, of this process or another, has bound it. If none has, its DMA "
          "bypasses the CPU's caches, and iommufd takes no such device");
    }
    if (number == EINVAL || number == ENOTTY) {
      return error{"bind device", errc::bad_descriptor}.of(who.name).advise(
          "it is no device's own node, or bound already: another process, or KVM, may still have "
          "it");
    }
    if (number != EBUSY) return why;
    if (sysfs.in_the_way(who.attachment.group).empty())
      return why.advise("its group is open under /dev/vfio, or another process has it");
    const error busy{"bind device", errc::still_in_use};
    return sysfs.why_not_viable(busy, who.attachment.group, who.name);
  }
  TETHER_CATCH(std::exception const&) {
    return error::from_errno("bind device", number).of(who.name);
  }
}

/// Opens a device's node, or duplicates its descriptor, and records its group and how it pins.
/// Fails, with nothing open: ENOENT with what is missing, EACCES; `no_such_device` if it
/// was asked for by name and the node is another device's; the kernel's errno, not enough memory.
template <class Kernel>
[[nodiscard]] result<basic_vfio_device<Kernel>> open_cdev(vfio_cdev const& endpoint,
                                                          vfio_sysfs const& sysfs) noexcept {
  TETHER_TRY {
    const bool passed_in = endpoint.descriptor() >= 0;
    const auto answer =
        passed_in ? Kernel::duplicate(endpoint.descriptor())
                  : Kernel::call(SYS_openat, AT_FDCWD, endpoint.path(), O_RDWR | O_CLOEXEC, 0);
    if (answer < 0) return failure(why_not_open(endpoint, sysfs, static_cast<int>(-answer)));
    kernel_descriptor<Kernel> opened{answer};
    struct stat node{};
    if (const auto looked = Kernel::fstat(opened.number(), node); looked < 0) {
      return failure(why_not_open(endpoint, sysfs, static_cast<int>(-looked)));
    }
    const std::string found = sysfs.device_with_node(node_number(node));
    if (endpoint.by_name() && !found.empty() && found != endpoint.name()) {
      const error why{"open device", errc::no_such_device};
      const std::uint64_t number = minor(node.st_rdev);
      return failure(
          why.of(endpoint.name())
              .advise("its node leads to another device, minor number {}: make the nodes anew",
                      number));
    }
    auto device = basic_vfio_device<Kernel>::adopt(std::move(opened), endpoint.name());
    if (!device) return device;
    const bool is_as_named = found.empty() || found == endpoint.name() || passed_in;
    device->state()->attachment.group =
        is_as_named ? std::string{endpoint.group()} : sysfs.group_of(found).value_or(found);
    device->state()->attachment.token = endpoint.token();
    device->state()->attachment.pins = pins_as(endpoint, found, sysfs);
    return device;
  }
  TETHER_CATCH(std::exception const&) {
    return failure(error::out_of_memory("open device").of(endpoint.name()));
  }
}

}  // namespace tether::detail
