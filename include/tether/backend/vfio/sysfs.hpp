// SPDX-License-Identifier: BSL-1.0
// What sysfs says of a PCI or mediated device: its IOMMU group, its driver, the rest of its group.
// Used to find a group by a device's name, to tell mediated devices from physical ones, and for
// error messages that help. What has been opened is identified by its device number
// (/sys/dev/char/510:4): nodes can be called anything.
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/core/error.hpp>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <system_error>
#include <utility>
#include <vector>

namespace tether {

namespace detail {

/// "major:minor" of a character device; empty for anything else.
[[nodiscard]] inline std::string node_number(struct stat const& node) {
  return S_ISCHR(node.st_mode)
             ? std::to_string(major(node.st_rdev)) + ":" + std::to_string(minor(node.st_rdev))
             : std::string{};
}

}  // namespace detail

/// Looks devices up. `root` is `/sys`, or a test's fake of it.
class vfio_sysfs {
 public:
  explicit vfio_sysfs(std::filesystem::path root = "/sys") : root_{std::move(root)} {}

  /// The number of a device's IOMMU group, as text. `device` is a PCI address ("0000:01:00.0") or a
  /// mediated device's UUID.
  /// Fails: `no_such_device` if there is none of that name, or it has no group because no IOMMU is
  /// on.
  [[nodiscard]] result<std::string> group_of(std::string_view device) const noexcept try {
    const error absent = error{"find IOMMU group", errc::no_such_device}.of(device);
    const auto folder = find(device);
    if (folder.empty())
      return failure(
          absent.advise("name a PCI address such as 0000:01:00.0, or a mediated device's UUID"));
    auto group = target_name(folder / "iommu_group");
    if (group.empty())
      return failure(absent.advise(
          "it has none: turn the IOMMU on (intel_iommu=on, or the firmware's setting)"));
    return group;
  } catch (std::exception const&) {
    return failure(error::out_of_memory("find IOMMU group").of(device));
  }

  /// How a device of a group pins: on demand if and only if every device of the group is mediated
  /// (its `subsystem` is mdev), because a group is attached as a whole; what cannot be read pins
  /// (law 1). Fails: `no_such_device` if the group exists and the device is not in it.
  [[nodiscard]] result<pin_class> pins(std::string_view group,
                                       std::string_view device) const noexcept try {
    const auto devices = devices_of(group);
    if (!devices.empty() && std::ranges::find(devices, device) == devices.end()) {
      return failure(error{"find device", errc::no_such_device}.of(device).advise(
          device.find(" vf_token=") != std::string_view::npos
              ? "name the device alone, and its token with vfio_group::with_token()"
              : "name one of the group's devices"));
    }
    return class_of(group, devices);
  } catch (std::exception const&) {
    return pin_class::pins;
  }
  /// How a group pins, as above.
  [[nodiscard]] pin_class pins(std::string_view group) const noexcept try {
    return class_of(group, devices_of(group));
  } catch (std::exception const&) {
    return pin_class::pins;
  }

  /// Whether a device is mediated (its `subsystem` is mdev), whatever the rest of its group is.
  /// What cannot be read counts as not mediated.
  [[nodiscard]] bool is_mediated(std::string_view device) const noexcept try {
    const auto folder = find(device);
    return !folder.empty() && target_name(folder / "subsystem") == "mdev";
  } catch (std::exception const&) {
    return false;
  }
  /// The name of a device's own node, "vfio0". Fails: `no_such_device` if there is no such device,
  /// or it is not bound to a driver of VFIO; `unsupported` if the kernel has no such nodes.
  [[nodiscard]] result<std::string> node_of(std::string_view device) const noexcept try {
    const error absent = error{"find device node", errc::no_such_device}.of(device);
    const auto folder = find(device);
    if (folder.empty())
      return failure(
          absent.advise("name a PCI address such as 0000:01:00.0, or a mediated device's UUID"));
    const auto node = node_in(folder);
    if (node.empty()) {
      return failure(
          absent.advise("bind it: write vfio-pci to its driver_override, then its address to "
                        "drivers/vfio-pci/bind"));
    }
    if (!is_there(node / "dev")) {
      return failure(error{"find device node", errc::unsupported}.of(device).advise(
          "this kernel has no nodes for single devices (CONFIG_VFIO_DEVICE_CDEV, Linux 6.6): use "
          "vfio_type1"));
    }
    return node.filename().string();
  } catch (std::exception const&) {
    return failure(error::out_of_memory("find device node").of(device));
  }
  /// The device whose own node has that device number ("510:4"), by which the kernel knows it,
  /// whatever the node is called. Empty if sysfs does not know it.
  [[nodiscard]] std::string device_with_node(std::string_view number) const {
    return is_of_class(number, "vfio-dev") ? target_name(node_with(number) / "device")
                                           : std::string{};
  }
  /// The same for a group: its number in sysfs, as text.
  [[nodiscard]] std::string group_with_node(std::string_view number) const {
    return is_of_class(number, "vfio") ? target_name(node_with(number)) : std::string{};
  }
  /// The device that a path leads to: by the device number of the node there; if that tells
  /// nothing, by the node's name. Empty if sysfs does not know it.
  [[nodiscard]] std::string device_behind(std::string const& path) const {
    struct stat node{};
    if (::stat(path.c_str(), &node) == 0) {
      if (auto device = device_with_node(detail::node_number(node)); !device.empty()) return device;
    }
    return target_name(root_ / "class/vfio-dev" / path.substr(path.rfind('/') + 1) / "device");
  }

  /// How many mappings a container may hold: the parameter of vfio_iommu_type1, or the kernel's
  /// default where it cannot be read.
  [[nodiscard]] std::uint64_t mapping_limit() const noexcept try {
    std::uint64_t limit = 65535;
    std::ifstream file{root_ / "module/vfio_iommu_type1/parameters/dma_entry_limit"};
    if (std::uint64_t read = 0; file >> read) limit = read;
    return limit;
  } catch (std::exception const&) {
    return 65535;
  }

  /// The devices of a group, in no special order.
  [[nodiscard]] std::vector<std::string> devices_of(std::string_view group) const {
    std::vector<std::string> names;
    std::error_code ignored;
    const std::filesystem::directory_iterator end;
    for (std::filesystem::directory_iterator at{folder_of(group), ignored}; !ignored && at != end;
         at.increment(ignored)) {
      names.push_back(at->path().filename().string());
    }
    return names;
  }
  /// The driver a device is bound to, or an empty name.
  [[nodiscard]] std::string driver_of(std::string_view group, std::string_view device) const {
    return target_name(folder_of(group) / device / "driver");
  }

  /// The devices that keep a group from being viable: bound to a driver that does DMA of its own.
  /// Separated by blanks.
  [[nodiscard]] std::string in_the_way(std::string_view group) const {
    std::string names;
    for (std::string const& device : devices_of(group)) {
      const auto driver = driver_of(group, device);
      if (driver.empty() || driver == "pcieport" || driver == "pci-stub" ||
          driver.starts_with("vfio"))
        continue;
      if (!names.empty()) names += ' ';
      names += device + " (" + driver + ")";
    }
    return names;
  }

 private:
  [[nodiscard]] std::filesystem::path node_with(std::string_view number) const {
    return root_ / "dev/char" / number;
  }
  [[nodiscard]] bool is_of_class(std::string_view number, std::string_view wanted) const {
    return !number.empty() && target_name(node_with(number) / "subsystem") == wanted;
  }
  [[nodiscard]] std::filesystem::path folder_of(std::string_view group) const {
    return root_ / "kernel/iommu_groups" / group / "devices";
  }
  /// How the group of these devices pins. An empty list pins: it could not be read.
  [[nodiscard]] pin_class class_of(std::string_view group,
                                   std::vector<std::string> const& devices) const {
    const bool mediated =
        !devices.empty() && std::ranges::all_of(devices, [&](std::string const& one) {
          return target_name(folder_of(group) / one / "subsystem") == "mdev";
        });
    return mediated ? pin_class::pins_on_demand : pin_class::pins;
  }
  /// A device's folder, by PCI address or UUID; empty if there is none.
  [[nodiscard]] std::filesystem::path find(std::string_view device) const {
    for (const char* bus : {"bus/pci/devices", "bus/mdev/devices"}) {
      auto folder = root_ / bus / device;
      if (!device.empty() && is_there(folder)) return folder;
    }
    return {};
  }
  /// The node that VFIO has made for a device; empty if it is bound to no VFIO driver.
  static std::filesystem::path node_in(std::filesystem::path const& folder) {
    std::error_code none;
    const std::filesystem::directory_iterator at{folder / "vfio-dev", none};
    return none || at == std::filesystem::directory_iterator{} ? std::filesystem::path{}
                                                               : at->path();
  }
  static bool is_there(std::filesystem::path const& folder) {
    std::error_code ignored;
    return std::filesystem::exists(folder, ignored);
  }
  static std::string target_name(std::filesystem::path const& link) {
    std::error_code none;
    return std::filesystem::read_symlink(link, none).filename().string();
  }

  std::filesystem::path root_;
};

}  // namespace tether
