// SPDX-License-Identifier: BSL-1.0
// A VFIO group by path, by one of its devices, or as a descriptor that a management layer has
// passed in: what a container attaches.
#pragma once

#include <tether/backend/vfio/sysfs.hpp>
#include <tether/backend/vfio/vf_token.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>

#include <exception>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace tether {

/// Names a group; opens nothing.
class vfio_group {
 public:
  /// By its node: "/dev/vfio/12". Whichever group the node leads to when it is opened is attached.
  explicit vfio_group(std::string path) : path_{std::move(path)} {}

  /// By a device in it, a PCI address or a mediated device's UUID. If the node leads to another
  /// group when it is opened, that is refused.
  /// Fails: as `vfio_sysfs::group_of`.
  [[nodiscard]] static result<vfio_group> of(std::string_view device,
                                             vfio_sysfs const& sysfs = vfio_sysfs{}) noexcept {
    TETHER_TRY {
      auto number = sysfs.group_of(device);
      if (!number) return failure(number.error());
      vfio_group named{"/dev/vfio/" + *number};
      named.by_device_ = true;
      return named;
    }
    TETHER_CATCH(std::exception const&) {
      return failure(error::out_of_memory("find IOMMU group").of(device));
    }
  }
  /// From an open descriptor, which stays the caller's: the container works on a duplicate.
  [[nodiscard]] static vfio_group from_descriptor(int descriptor, std::string path) {
    vfio_group group{std::move(path)};
    group.descriptor_ = descriptor;
    return group;
  }

  /// The same group, with the token that one of its devices, named as for `open`, is opened with.
  /// A device that needs none must be given none: the kernel refuses it.
  [[nodiscard]] vfio_group with_token(std::string device, vf_token token) const {
    vfio_group more{*this};
    more.tokens_.emplace_back(std::move(device), token);
    return more;
  }

  /// Its path, which is its name in errors.
  [[nodiscard]] std::string_view name() const noexcept { return path_; }
  /// The same, zero-terminated.
  [[nodiscard]] const char* path() const noexcept { return path_.c_str(); }
  /// Negative: open the node.
  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  /// Devices and their tokens.
  [[nodiscard]] std::vector<std::pair<std::string, vf_token>> const& tokens() const noexcept {
    return tokens_;
  }
  /// Whether it was asked for by device (`of`): then a node that leads to another group is refused.
  [[nodiscard]] bool by_device() const noexcept { return by_device_; }
  /// The number that its path ends in, as text. The group that is really opened may be another: see
  /// `joined_vfio_group::number`.
  [[nodiscard]] std::string_view number() const noexcept {
    return std::string_view{path_}.substr(path_.rfind('/') + 1);
  }

 private:
  std::string path_;
  int descriptor_ = -1;
  bool by_device_ = false;
  std::vector<std::pair<std::string, vf_token>> tokens_;
};

}  // namespace tether
