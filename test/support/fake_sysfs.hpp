// SPDX-License-Identifier: BSL-1.0
// A temporary folder laid out like /sys, as far as vfio_sysfs reads it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

namespace tether_test {

/// Removed with its contents at the end of the scope.
class fake_sysfs {
 public:
  fake_sysfs() {
    std::string name = (std::filesystem::temp_directory_path() / "tether-sysfs-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    root_ = name;
  }
  fake_sysfs(fake_sysfs const&) = delete;
  fake_sysfs& operator=(fake_sysfs const&) = delete;
  ~fake_sysfs() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }

  [[nodiscard]] std::filesystem::path const& root() const noexcept { return root_; }

  /// A device on `bus` ("pci" or "mdev"). An empty group or driver: none.
  void add(std::string const& device, std::string const& bus, std::string const& group,
           std::string const& driver = {}) const {
    using namespace std::filesystem;
    const auto folder = root_ / "devices" / device;
    create_directories(folder);
    create_directories(root_ / "bus" / bus / "devices");
    create_symlink(folder, root_ / "bus" / bus / "devices" / device);
    create_symlink(root_ / "bus" / bus, folder / "subsystem");
    if (!driver.empty())
      create_symlink(root_ / "bus" / bus / "drivers" / driver, folder / "driver");
    if (group.empty()) return;
    const auto members = root_ / "kernel/iommu_groups" / group / "devices";
    create_directories(members);
    create_symlink(root_ / "kernel/iommu_groups" / group, folder / "iommu_group");
    create_symlink(folder, members / device);
    // VFIO makes the group of a mediated device itself.
    if (bus == "mdev") std::ofstream{members.parent_path() / "name"} << "vfio-noiommu\n";
    const bool numbered = group.find_first_not_of("0123456789") == std::string::npos;
    const bool bound = bus == "mdev" || driver.find("vfio") != std::string::npos;
    if (numbered && bound && !exists(root_ / "class/vfio" / group))
      add_group_node(group, "509:" + group);
  }
  /// The node that VFIO makes for a group with a device that is bound to it; `add` does it for one
  /// whose name is a number.
  void add_group_node(std::string const& group, std::string const& number) const {
    const auto folder = root_ / "devices/virtual/vfio" / group;
    add_node_folder(folder, "vfio", number);
  }
  /// The node that a VFIO driver makes for a device. Without a device number ("510:0") it is as on
  /// a kernel before 6.6.
  void add_node(std::string const& device, std::string const& node,
                std::string const& number) const {
    using namespace std::filesystem;
    const auto folder = root_ / "devices" / device / "vfio-dev" / node;
    add_node_folder(folder, "vfio-dev", number);
    create_symlink(root_ / "devices" / device, folder / "device");
  }
  /// As if an IOMMU stood behind the mediated devices of a group.
  void put_iommu_behind(std::string const& group) const {
    std::filesystem::remove(root_ / "kernel/iommu_groups" / group / "name");
  }
  void set_mapping_limit(unsigned limit) const {
    const auto folder = root_ / "module/vfio_iommu_type1/parameters";
    std::filesystem::create_directories(folder);
    std::ofstream{folder / "dma_entry_limit"} << limit << '\n';
  }

 private:
  /// Lists a device that has a node as the kernel does: in its class, and among all nodes by
  /// number.
  void add_node_folder(std::filesystem::path const& folder, std::string const& of_class,
                       std::string const& number) const {
    using namespace std::filesystem;
    create_directories(folder);
    create_directories(root_ / "class" / of_class);
    create_symlink(folder, root_ / "class" / of_class / folder.filename());
    create_symlink(root_ / "class" / of_class, folder / "subsystem");
    if (number.empty()) return;
    std::ofstream{folder / "dev"} << number << '\n';
    create_directories(root_ / "dev/char");
    create_symlink(folder, root_ / "dev/char" / number);
  }

  std::filesystem::path root_;
};

}  // namespace tether_test
