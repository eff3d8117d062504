// SPDX-License-Identifier: BSL-1.0
// Which device is behind a node (cdev). It need not be the one that sysfs has under the node's
// name: nodes can be stale, are remapped in OS containers, and can be replaced at any time. The
// device number (st_rdev) of what was opened decides.
//
//     path --stat---------> 510:2 --/sys/dev/char--> 0000:01:00.0 --subsystem--> pci: it pins
//     path --open, fstat--> 510:2 ---- the same, for the device that was opened and is kept
#pragma once

#include <tether/backend/vfio/cdev.hpp>
#include <tether/backend/vfio/device.hpp>
#include <tether/backend/vfio/sysfs.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/error.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/kernel_handles.hpp>

#include <cerrno>
#include <cstdint>
#include <exception>
#include <string>
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
[[nodiscard]] pin_class classify_cdev(vfio_cdev const& endpoint, vfio_sysfs const& sysfs) noexcept
    try {
  struct stat node{};
  const auto looked = endpoint.descriptor() >= 0 ? Kernel::fstat(endpoint.descriptor(), node)
                                                 : Kernel::stat(endpoint.path(), node);
  return looked < 0 ? pin_class::pins
                    : pins_as(endpoint, sysfs.device_with_node(node_number(node)), sysfs);
} catch (std::exception const&) {
  return pin_class::pins;
}

[[nodiscard]] inline error why_not_open(vfio_cdev const& endpoint, int number) noexcept {
  const auto why = error::from_errno("open device", number).of(endpoint.name());
  if (number == ENOENT || number == ENODEV || number == ENXIO) {
    return why.advise(
        "bind it: write vfio-pci to its driver_override, then its address to drivers/vfio-pci/bind "
        "(kernel: CONFIG_VFIO_DEVICE_CDEV)");
  }
  if (number == EACCES || number == EPERM)
    return why.advise("give this user the right to open the device's node");
  return why;
}

/// Opens a device's node, or duplicates its descriptor, and records its group and how it pins.
/// Fails, with nothing open: ENOENT with how to bind it to a driver, EACCES; `no_such_device` if it
/// was asked for by name and the node is another device's; the kernel's errno, not enough memory.
template <class Kernel>
[[nodiscard]] result<basic_vfio_device<Kernel>> open_cdev(vfio_cdev const& endpoint,
                                                          vfio_sysfs const& sysfs) noexcept try {
  const bool passed_in = endpoint.descriptor() >= 0;
  const auto answer =
      passed_in ? Kernel::duplicate(endpoint.descriptor())
                : Kernel::call(SYS_openat, AT_FDCWD, endpoint.path(), O_RDWR | O_CLOEXEC, 0);
  if (answer < 0) return failure(why_not_open(endpoint, static_cast<int>(-answer)));
  kernel_descriptor<Kernel> opened{answer};
  struct stat node{};
  if (const auto looked = Kernel::fstat(opened.number(), node); looked < 0) {
    return failure(why_not_open(endpoint, static_cast<int>(-looked)));
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
} catch (std::exception const&) {
  return failure(error::out_of_memory("open device").of(endpoint.name()));
}

}  // namespace tether::detail
