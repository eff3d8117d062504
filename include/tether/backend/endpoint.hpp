// SPDX-License-Identifier: BSL-1.0
// One device, named as a user names it, whatever backend it is meant for: what
// `container::attach(endpoint)` takes. Each backend finds by it what it attaches (`locate`).
#pragma once

#include <tether/core/attachment.hpp>

#include <string>

namespace tether {

/// Names one device; opens nothing.
///
///     endpoint{"0000:01:00.0"}                                PCI address, as `lspci -D` shows it
///     endpoint{"83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"}        mediated device
///     endpoint{"/dev/vfio/devices/vfio0"}                     its own node
///     endpoint{"/dev/vfio/12"}                                its group's, if it is alone there
///     endpoint{"/sys/bus/pci/devices/0000:01:00.0"}           its folder
///     endpoint{"eth0"}                                        of an emulated backend: any name
struct endpoint {
  std::string name;  ///< an address, a path, or whatever an emulated backend is to call it
  /// How an emulated device pins. Of a device of VFIO sysfs says it, and this is not read.
  pin_class pins = pin_class::pins;
};

/// A device where groups are attached: its group, and its name there.
template <class Group>
struct device_in_group {
  Group group;         ///< as `attach` takes it
  std::string device;  ///< as `open` takes it
};

}  // namespace tether
