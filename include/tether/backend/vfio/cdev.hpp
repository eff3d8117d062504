// SPDX-License-Identifier: BSL-1.0
// A single VFIO device by its own node (cdev), by PCI address or UUID, or as a descriptor that a
// management layer has passed in: what a container on iommufd attaches.
#pragma once

#include <tether/backend/vfio/sysfs.hpp>
#include <tether/backend/vfio/vf_token.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>

#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace tether {

/// Names a device; opens nothing.
class vfio_cdev {
 public:
  /// By its node: "/dev/vfio/devices/vfio0". The device's name is looked up in sysfs; if that does
  /// not know it, the path is used. Whichever device the node leads to when it is opened is
  /// attached, and classified as that device.
  explicit vfio_cdev(std::string path, vfio_sysfs const& sysfs = vfio_sysfs{})
      : path_{std::move(path)} {
    name_ = sysfs.device_behind(path_);
    if (name_.empty()) name_ = path_;
    find_group(sysfs);
  }

  /// By PCI address ("0000:01:00.0") or a mediated device's UUID. If the node leads to another
  /// device when it is opened, that is refused.
  /// Fails: as `vfio_sysfs::node_of`.
  [[nodiscard]] static result<vfio_cdev> of(std::string_view device,
                                            vfio_sysfs const& sysfs = vfio_sysfs{}) noexcept {
    TETHER_TRY {
      auto node = sysfs.node_of(device);
      if (!node) return failure(node.error());
      vfio_cdev named{"/dev/vfio/devices/" + *node, std::string{device}, sysfs};
      named.by_name_ = true;
      return named;
    }
    TETHER_CATCH(std::exception const&) {
      return failure(error::out_of_memory("find device node").of(device));
    }
  }
  /// From an open descriptor of its node, which stays the caller's: the container works on a
  /// duplicate. `name` is the device's. The kernel unbinds a device only when its last descriptor
  /// is closed: until the caller closes it, too, the device can join one context only, once.
  [[nodiscard]] static vfio_cdev from_descriptor(int descriptor, std::string name,
                                                 vfio_sysfs const& sysfs = vfio_sysfs{}) {
    vfio_cdev device{{}, std::move(name), sysfs};
    device.descriptor_ = descriptor;
    return device;
  }

  /// The same device, with the token that it is bound with. One that needs none must be given none.
  [[nodiscard]] vfio_cdev with_token(vf_token token) const {
    vfio_cdev more{*this};
    more.token_ = token;
    return more;
  }

  /// Its name, for errors.
  [[nodiscard]] std::string_view name() const noexcept { return name_; }
  /// The number of its IOMMU group, as text: the devices that the IOMMU cannot isolate from this
  /// one. Its own name if it has none.
  [[nodiscard]] std::string_view group() const noexcept { return group_; }
  /// Empty where a descriptor was passed in.
  [[nodiscard]] const char* path() const noexcept { return path_.c_str(); }
  /// Negative: open the node.
  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  [[nodiscard]] std::optional<vf_token> const& token() const noexcept { return token_; }
  /// Whether it was asked for by name (`of`): then a node that leads to another device is refused.
  [[nodiscard]] bool by_name() const noexcept { return by_name_; }

 private:
  vfio_cdev(std::string path, std::string name, vfio_sysfs const& sysfs)
      : path_{std::move(path)}, name_{std::move(name)} {
    find_group(sysfs);
  }
  void find_group(vfio_sysfs const& sysfs) { group_ = sysfs.group_of(name_).value_or(name_); }

  std::string path_;
  std::string name_;
  std::string group_;
  int descriptor_ = -1;
  bool by_name_ = false;
  std::optional<vf_token> token_;
};

}  // namespace tether
