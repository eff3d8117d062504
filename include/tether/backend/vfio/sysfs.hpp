// SPDX-License-Identifier: BSL-1.0
// What sysfs says of a PCI or mediated device: its IOMMU group, its driver, the rest of its group.
// Used to find a group by a device's name, to tell mediated devices from physical ones, and for
// error messages that help. What has been opened is identified by its device number
// (/sys/dev/char/510:4): nodes can be called anything.
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/backend/vfio/sysfs_files.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <utility>
#include <vector>

namespace tether {

namespace detail {

/// Advice of several errors.
inline constexpr const char* turn_on_iommu =
    "no IOMMU is on: turn it on (intel_iommu=on, or the firmware's setting)";
inline constexpr const char* bind_it =
    "bind it: write vfio-pci to its driver_override, then its address to drivers/vfio-pci/bind";
inline constexpr const char* load_vfio =
    "this kernel has no VFIO: load vfio-pci, then bind the device to it";
inline constexpr const char* no_node_here =
    "it is bound, and its node is missing from this /dev: pass it in, or let udev make it";

}  // namespace detail

/// Looks devices up. `root` is `/sys`, or a test's fake of it.
class vfio_sysfs {
 public:
  /// The tree below `root`, which tests replace. Fails: may throw `std::bad_alloc`.
  explicit vfio_sysfs(std::string root = "/sys") : root_{std::move(root)} {}

  /// The number of a device's IOMMU group, as text. `device` is a PCI address ("0000:01:00.0") or a
  /// mediated device's UUID.
  /// Fails: `no_such_device` if there is none of that name, or it has no group because no IOMMU is
  /// on.
  [[nodiscard]] result<std::string> group_of(std::string_view device) const noexcept {
    TETHER_TRY {
      const error absent = error{"find IOMMU group", errc::no_such_device}.of(device);
      const auto folder = find(device);
      if (folder.empty()) return failure(absent.advise(why_no_device(device)));
      auto group = detail::target_name(folder + "/iommu_group");
      if (group.empty() || is_without_iommu(group))
        return failure(absent.advise(detail::turn_on_iommu));
      return group;
    }
    TETHER_CATCH(std::exception const&) {
      return failure(error::out_of_memory("find IOMMU group").of(device));
    }
  }

  /// How a device of a group pins: on demand if and only if every device of the group is mediated
  /// (its `subsystem` is mdev), because a group is attached as a whole, and no IOMMU stands behind
  /// it; what cannot be read pins (law 1). Fails: `no_such_device` if the group exists and the
  /// device is not in it.
  [[nodiscard]] result<pin_class> pins(std::string_view group,
                                       std::string_view device) const noexcept {
    TETHER_TRY {
      const auto devices = devices_of(group);
      if (!devices.empty() && std::ranges::find(devices, device) == devices.end()) {
        return failure(error{"find device", errc::no_such_device}.of(device).advise(
            device.find(" vf_token=") != std::string_view::npos
                ? "name the device alone, and its token with vfio_group::with_token()"
                : "name one of the group's devices"));
      }
      return class_of(group, devices);
    }
    TETHER_CATCH(std::exception const&) { return pin_class::pins; }
  }
  /// How a group pins, as above.
  [[nodiscard]] pin_class pins(std::string_view group) const noexcept {
    TETHER_TRY { return class_of(group, devices_of(group)); }
    TETHER_CATCH(std::exception const&) { return pin_class::pins; }
  }

  /// Whether a device is mediated (its `subsystem` is mdev) and no IOMMU stands behind it, whatever
  /// the rest of its group is. What cannot be read counts as not mediated.
  [[nodiscard]] bool is_mediated(std::string_view device) const noexcept {
    TETHER_TRY {
      const auto folder = find(device);
      if (folder.empty() || detail::target_name(folder + "/subsystem") != "mdev") return false;
      const auto group = detail::target_name(folder + "/iommu_group");
      return group.empty() || is_of_no_iommu(group);
    }
    TETHER_CATCH(std::exception const&) { return false; }
  }
  /// The name of a device's own node, "vfio0". Fails: `no_such_device` if there is no such device,
  /// or it is not bound to a driver of VFIO; `unsupported` if the kernel has no such nodes.
  [[nodiscard]] result<std::string> node_of(std::string_view device) const noexcept {
    TETHER_TRY {
      const error absent = error{"find device node", errc::no_such_device}.of(device);
      const auto folder = find(device);
      if (folder.empty()) return failure(absent.advise(why_no_device(device)));
      const auto node = node_in(folder);
      if (node.empty()) return failure(absent.advise(why_not_bound()));
      if (!detail::is_there(node + "/dev")) {
        if (is_without_iommu(detail::target_name(folder + "/iommu_group")))
          return failure(absent.advise(detail::turn_on_iommu));
        return failure(error{"find device node", errc::unsupported}.of(device).advise(no_cdevs));
      }
      return detail::last_part(node);
    }
    TETHER_CATCH(std::exception const&) {
      return failure(error::out_of_memory("find device node").of(device));
    }
  }
  /// The device whose own node has that device number ("510:4"), by which the kernel knows it,
  /// whatever the node is called. Empty if sysfs does not know it.
  [[nodiscard]] std::string device_with_node(std::string_view number) const {
    return is_of_class(number, "vfio-dev") ? detail::target_name(node_with(number) + "/device")
                                           : std::string{};
  }
  /// The same for a group: its number in sysfs, as text.
  [[nodiscard]] std::string group_with_node(std::string_view number) const {
    return is_of_class(number, "vfio") ? detail::target_name(node_with(number)) : std::string{};
  }
  /// The device that a path leads to: by the device number of the node there; if that tells
  /// nothing, by the node's name. Empty if sysfs does not know it.
  [[nodiscard]] std::string device_behind(std::string const& path) const {
    struct stat node{};
    if (::stat(path.c_str(), &node) == 0) {
      if (auto device = device_with_node(detail::node_number(node)); !device.empty()) return device;
    }
    return detail::target_name(root_ + "/class/vfio-dev/" + detail::last_part(path) + "/device");
  }

  /// How many mappings a container may hold: the parameter of vfio_iommu_type1, or the kernel's
  /// default where it cannot be read.
  [[nodiscard]] std::uint64_t mapping_limit() const noexcept {
    TETHER_TRY {
      return detail::number_in(root_ + "/module/vfio_iommu_type1/parameters/dma_entry_limit",
                               65535);
    }
    TETHER_CATCH(std::exception const&) { return 65535; }
  }

  /// The devices of a group, in no special order.
  [[nodiscard]] std::vector<std::string> devices_of(std::string_view group) const {
    std::vector<std::string> names;
    detail::for_each_name(folder_of(group), [&](std::string_view name) {
      names.emplace_back(name);
      return true;
    });
    return names;
  }
  /// The driver a device is bound to, or an empty name.
  [[nodiscard]] std::string driver_of(std::string_view group, std::string_view device) const {
    return detail::target_name(folder_of(group).append("/").append(device).append("/driver"));
  }

  /// Whether an IOMMU is on, or stands in: without one no device is in a group.
  [[nodiscard]] bool has_iommu() const {
    return detail::any_name_in(root_ + "/kernel/iommu_groups");
  }
  /// Whether VFIO uses a group without an IOMMU (its node is "noiommu-12").
  [[nodiscard]] bool is_without_iommu(std::string_view group) const {
    return group.starts_with(no_iommu) ||
           has(std::string{"/class/vfio/"}.append(no_iommu).append(group));
  }
  /// Advice for a group whose node is missing, by its number.
  [[nodiscard]] const char* why_no_group(std::string_view group) const {
    if (is_without_iommu(group)) return detail::turn_on_iommu;
    if (has(std::string{"/class/vfio/"}.append(group))) return detail::no_node_here;
    if (detail::is_there(folder_of(group))) {
      return has("/class/vfio")
                 ? "bind its devices: write vfio-pci to driver_override, then each address to "
                   "drivers/vfio-pci/bind"
                 : detail::load_vfio;
    }
    return has_iommu() ? "there is no such group: see /sys/kernel/iommu_groups"
                       : detail::turn_on_iommu;
  }
  /// Advice for a single device whose node is missing, by the node's name ("vfio0").
  [[nodiscard]] const char* why_no_node(std::string_view node) const {
    const auto known = std::string{"/class/vfio-dev/"}.append(node);
    if (has(known)) return has(known + "/dev") ? detail::no_node_here : no_cdevs;
    return why_not_bound();
  }

  /// The devices that keep a group from being viable, each with its driver: "0000:01:00.1
  /// (snd_hda_intel)". A driver of VFIO makes a `vfio-dev` folder in its device's, whatever its own
  /// name is (Linux 6.1; before, the name alone tells).
  [[nodiscard]] std::vector<std::string> in_the_way(std::string_view group) const {
    std::vector<std::string> found;
    const bool told = has("/class/vfio-dev");
    for (std::string const& device : devices_of(group)) {
      const auto driver = driver_of(group, device);
      if (detail::leaves_device_unused(driver) ||
          detail::is_there(folder_of(group) + "/" + device + "/vfio-dev") ||
          (!told && driver.find("vfio") != std::string::npos))
        continue;
      found.push_back(device + " (" + driver + ")");
    }
    return found;
  }
  /// `why`, of `name`, with the first device in the way of its group, if sysfs knows of any, how
  /// many others there are, and what to do. Fails: may throw `std::bad_alloc`.
  [[nodiscard]] error why_not_viable(error const& why, std::string_view group,
                                     std::string_view name) const {
    const auto all = in_the_way(group);
    const error plain = why.of(name);
    if (all.empty()) {
      return plain.advise(
          devices_of(group).empty()
              ? "bind every device of the group to vfio-pci, or to no driver"
              : "no driver is in the way: another process uses one of the group's devices");
    }
    const error named = plain.blocked_by(all.front());
    if (all.size() == 1) return named.advise("bind it to vfio-pci or to no driver");
    return named
        .advise("bind it, and {} more of its group, to vfio-pci or to no driver", all.size() - 1);
  }

 private:
  static constexpr std::string_view no_iommu = "noiommu-";
  static constexpr const char* no_cdevs =
      "this kernel has no nodes for single devices (CONFIG_VFIO_DEVICE_CDEV, Linux 6.6): use "
      "vfio_type1";

  /// Advice for a name that is no device's.
  [[nodiscard]] const char* why_no_device(std::string_view device) const {
    if (!find("0000:" + std::string{device}).empty())
      return "name its domain, too, as in 0000:01:00.0";
    if (device.size() == 12 && device[4] == ':' && device[7] == ':' && device[10] == '.')
      return "no such device is under /sys/bus/pci/devices: lspci -D shows those that are";
    if (std::ranges::count(device, '-') == 4)
      return "no such device is under /sys/bus/mdev/devices: make it there first";
    return "name a PCI address such as 0000:01:00.0, or a mediated device's UUID";
  }
  /// Advice for a device that is bound to no driver of VFIO.
  [[nodiscard]] const char* why_not_bound() const {
    if (!has_iommu()) return detail::turn_on_iommu;
    return has("/class/vfio-dev") ? detail::bind_it : detail::load_vfio;
  }
  /// Whether there is such a path under the root.
  [[nodiscard]] bool has(std::string const& path) const { return detail::is_there(root_ + path); }
  [[nodiscard]] std::string node_with(std::string_view number) const {
    return (root_ + "/dev/char/").append(number);
  }
  [[nodiscard]] bool is_of_class(std::string_view number, std::string_view wanted) const {
    return !number.empty() && detail::target_name(node_with(number) + "/subsystem") == wanted;
  }
  [[nodiscard]] std::string folder_of(std::string_view group) const {
    return (root_ + "/kernel/iommu_groups/").append(group).append("/devices");
  }
  /// How the group of these devices pins. An empty list pins: it could not be read.
  [[nodiscard]] pin_class class_of(std::string_view group,
                                   std::vector<std::string> const& devices) const {
    const bool mediated =
        !devices.empty() && is_of_no_iommu(group) &&
        std::ranges::all_of(devices, [&](std::string const& one) {
          return detail::target_name(folder_of(group) + "/" + one + "/subsystem") == "mdev";
        });
    return mediated ? pin_class::pins_on_demand : pin_class::pins;
  }
  /// Whether VFIO made this group itself, for a device whose driver translates, and says so in its
  /// name. A mediated device in any other group has an IOMMU behind it (NVIDIA's, and those that
  /// share a function by PASID). Source: `vfio_noiommu_group_alloc`, Linux 5.16.
  [[nodiscard]] bool is_of_no_iommu(std::string_view group) const {
    return detail::first_word_in((root_ + "/kernel/iommu_groups/").append(group).append("/name")) ==
           "vfio-noiommu";
  }
  /// A device's folder, by PCI address or UUID; empty if there is none.
  [[nodiscard]] std::string find(std::string_view device) const {
    for (const char* bus : {"/bus/pci/devices/", "/bus/mdev/devices/"}) {
      auto folder = (root_ + bus).append(device);
      if (detail::is_name(device) && detail::is_there(folder)) return folder;
    }
    return {};
  }
  /// The node that VFIO has made for a device; empty if it is bound to no VFIO driver.
  static std::string node_in(std::string const& folder) {
    std::string node;
    detail::for_each_name(folder + "/vfio-dev", [&](std::string_view name) {
      node = (folder + "/vfio-dev/").append(name);
      return false;
    });
    return node;
  }

  std::string root_;
};

}  // namespace tether
