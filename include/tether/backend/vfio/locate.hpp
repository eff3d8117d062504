// SPDX-License-Identifier: BSL-1.0
// Which device an endpoint names: by PCI address or UUID, or by a path that leads to it.
#pragma once

#include <tether/backend/endpoint.hpp>
#include <tether/backend/vfio/cdev.hpp>
#include <tether/backend/vfio/group.hpp>
#include <tether/backend/vfio/sysfs.hpp>
#include <tether/backend/vfio/sysfs_files.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <utility>
#include <vector>

namespace tether::detail {

/// The devices of a group that VFIO could open: those that a driver other than a bridge's has.
/// Fails: may throw `std::bad_alloc`.
[[nodiscard]] inline std::vector<std::string> usable_devices_of(std::string const& group,
                                                                vfio_sysfs const& sysfs) {
  auto devices = sysfs.devices_of(group);
  std::erase_if(devices, [&](std::string const& one) {
    return leaves_device_unused(sysfs.driver_of(group, one));
  });
  return devices;
}

/// What is missing where nothing is at the path of a group's or a device's node; for any other
/// path, what could be named.
[[nodiscard]] inline const char* why_nothing_at(std::string const& path, vfio_sysfs const& sysfs) {
  const auto name = last_part(path);
  const std::string_view folder{path.data(), path.size() - name.size()};
  const bool is_number =
      !name.empty() && name.find_first_not_of("0123456789") == std::string::npos;
  if (folder.ends_with("/vfio/") && (is_number || sysfs.is_without_iommu(name)))
    return sysfs.why_no_group(name);
  if (folder.ends_with("/vfio/devices/") && !name.empty()) return sysfs.why_no_node(name);
  return "name a PCI address such as 0000:01:00.0, a node such as /dev/vfio/devices/vfio0, or a "
         "folder of sysfs";
}

/// The one device that a path leads to: its own node, the node of a group in which it is alone, or
/// its folder in sysfs. Fails: ENOENT, ENOTDIR, EACCES, ... of the path; `no_such_device` for a
/// path to anything else, and for a group of no device, or of several. May throw `std::bad_alloc`.
[[nodiscard]] inline result<std::string> device_at(std::string const& path,
                                                   vfio_sysfs const& sysfs) {
  if (auto device = sysfs.device_behind(path); !device.empty()) return device;
  struct stat node{};
  const int missing = ::stat(path.c_str(), &node) == 0 ? 0 : errno;
  if (missing == 0 && S_ISDIR(node.st_mode)) {
    const auto end = path.find_last_not_of('/');
    return last_part(path.substr(0, end == std::string::npos ? 0 : end + 1));
  }
  auto group = missing == 0 ? sysfs.group_with_node(node_number(node)) : std::string{};
  if (group.empty() && missing == ENOENT) group = last_part(path);
  const auto devices = group.empty() ? std::vector<std::string>{} : usable_devices_of(group, sysfs);
  if (devices.size() == 1) return devices.front();
  const error none = error{"find device", errc::no_such_device}.of(path);
  if (devices.size() > 1) {
    return failure(
        none.advise("it is a group of {} devices: name one by its PCI address, as in 0000:01:00.0",
                    devices.size()));
  }
  if (missing != 0) {
    return failure(none.because(missing).advise(
        missing == EACCES ? "give this user the right to search the folders of that path"
                          : why_nothing_at(path, sysfs)));
  }
  return failure(none.advise(group.empty()
                                 ? "it is no node of VFIO: name a PCI address such as 0000:01:00.0"
                                 : "no device of this group has a driver: bind one to vfio-pci"));
}

/// The name by which sysfs knows a device. Fails: as `device_at`.
[[nodiscard]] inline result<std::string> device_named(endpoint const& what,
                                                      vfio_sysfs const& sysfs) {
  if (what.name.find('/') == std::string::npos) return what.name;
  return device_at(what.name, sysfs);
}

/// The group and the name of a device. Fails: as `device_at`, `vfio_group::of`.
[[nodiscard]] inline result<device_in_group<vfio_group>> locate_in_group(
    endpoint const& what, vfio_sysfs const& sysfs) noexcept {
  TETHER_TRY {
    auto device = device_named(what, sysfs);
    if (!device) return failure(device.error());
    auto group = vfio_group::of(*device, sysfs);
    if (!group) return failure(group.error());
    return device_in_group<vfio_group>{std::move(*group), std::move(*device)};
  }
  TETHER_CATCH(std::exception const&) {
    return failure(error::out_of_memory("find device").of(what.name));
  }
}

/// The device, by its own node. Fails: as `device_at`, `vfio_cdev::of`.
[[nodiscard]] inline result<vfio_cdev> locate_cdev(endpoint const& what,
                                                   vfio_sysfs const& sysfs) noexcept {
  TETHER_TRY {
    const auto device = device_named(what, sysfs);
    if (!device) return failure(device.error());
    return vfio_cdev::of(*device, sysfs);
  }
  TETHER_CATCH(std::exception const&) {
    return failure(error::out_of_memory("find device").of(what.name));
  }
}

}  // namespace tether::detail
