// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/vfio/locate.hpp>

#include <support/fake_sysfs.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <string>

namespace runtime_backend_vfio_locate {

using namespace tether;
using namespace tether::detail;
using tether_test::must;

namespace {

/// Group 12: a device, its bridge and a neighbour without a driver. Group 13: two devices. Group
/// 14: one that nobody drives.
struct machine {
  tether_test::fake_sysfs made;
  vfio_sysfs sysfs{made.root()};
  machine() {
    made.add("0000:01:00.0", "pci", "12", "vfio-pci");
    made.add_node("0000:01:00.0", "vfio3", "510:3");
    made.add("0000:00:01.0", "pci", "12", "pcieport");
    made.add("0000:01:00.1", "pci", "12");
    made.add("0000:02:00.0", "pci", "13", "vfio-pci");
    made.add("0000:02:00.1", "pci", "13", "vfio-pci");
    made.add("0000:03:00.0", "pci", "14");
  }
  [[nodiscard]] std::string sentence(std::string const& name) const {
    return locate_in_group({name}, sysfs).error().sentence();
  }
};

}  // namespace

TEST_CASE("a device is found by its address, its node, its group's node and its folder") {
  const machine m;
  const std::string folder = (m.made.root() / "bus/pci/devices/0000:01:00.0").string();
  for (std::string const& name : {std::string{"0000:01:00.0"}, std::string{"/dev/vfio/12"},
                                  std::string{"/dev/vfio/devices/vfio3"}, folder, folder + "/"}) {
    CAPTURE(name);
    const auto grouped = must(locate_in_group({name}, m.sysfs));
    CHECK(grouped.group.name() == "/dev/vfio/12");
    CHECK(grouped.group.by_device());
    CHECK(grouped.device == "0000:01:00.0");
    const auto alone = must(locate_cdev({name}, m.sysfs));
    CHECK(alone.name() == "0000:01:00.0");
    CHECK(alone.by_name());
    CHECK(alone.group() == "12");
  }
}

TEST_CASE("what names no device, or several, is told with what would") {
  const machine m;
  CHECK(m.sentence("/dev/vfio/13") ==
        "find device of '/dev/vfio/13': there is nothing of that name; it is a group of 2 devices: "
        "name one by its PCI address, as in 0000:01:00.0");
  CHECK(m.sentence("/dev/nvme/99") ==
        "find device of '/dev/nvme/99': No such file or directory; name a PCI address such as "
        "0000:01:00.0, a node such as /dev/vfio/devices/vfio0, or a folder of sysfs");
  CHECK(m.sentence("/dev/null") ==
        "find device of '/dev/null': there is nothing of that name; it is no node of VFIO: name a "
        "PCI address such as 0000:01:00.0");
  CHECK(m.sentence("/dev/null/12").find("Not a directory") != std::string::npos);
  CHECK(m.sentence("0000:09:00.0").find("lspci -D shows those that are") != std::string::npos);
  CHECK(m.sentence("01:00.0").find("name its domain, too") != std::string::npos);
  for (const char* name : {"", "nonsense", ".."})
    CHECK(m.sentence(name).find("name a PCI address such as 0000:01:00.0") != std::string::npos);
  CHECK(locate_cdev({"/dev/vfio/13"}, m.sysfs).error().is(errc::no_such_device));
  CHECK(locate_cdev({"0000:02:00.0"}, m.sysfs).error().sentence().find("load vfio-pci") ==
        std::string::npos);
  // Nobody drives the one device of its group: there is no node of that group, either.
  CHECK(locate_in_group({"/dev/vfio/14"}, m.sysfs).error().is_errno(ENOENT));
}

TEST_CASE("a node that is not there is told as if its group or device were opened") {
  const std::string of_group = "find device of '/dev/vfio/12': No such file or directory; ";
  const std::string of_node =
      "find device of '/dev/vfio/devices/vfio0': No such file or directory; ";
  const tether_test::fake_sysfs bare;
  const vfio_sysfs off{bare.root()};
  CHECK(device_at("/dev/vfio/12", off).error().sentence() == of_group + turn_on_iommu);
  CHECK(device_at("/dev/vfio/devices/vfio0", off).error().sentence() == of_node + turn_on_iommu);
  bare.add("0000:04:00.0", "pci", "15", "nvme");
  CHECK(device_at("/dev/vfio/12", off).error().sentence() ==
        of_group + "there is no such group: see /sys/kernel/iommu_groups");
  CHECK(device_at("/dev/vfio/devices/vfio0", off).error().sentence() == of_node + load_vfio);
  const machine m;
  CHECK(m.sentence("/dev/vfio/devices/vfio0") == of_node + bind_it);
  CHECK(m.sentence("/dev/vfio/14").find("bind its devices") != std::string::npos);
  m.made.add_group_node("noiommu-16", "509:16");
  CHECK(m.sentence("/dev/vfio/noiommu-16").ends_with(turn_on_iommu));
}

}  // namespace runtime_backend_vfio_locate
