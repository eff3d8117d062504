// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/vfio/sysfs.hpp>

#include <support/fake_sysfs.hpp>

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace runtime_backend_vfio_sysfs {

using namespace tether;

TEST_CASE("a device's group is found by PCI address and by a mediated device's UUID") {
  tether_test::fake_sysfs made;
  made.add("0000:01:00.0", "pci", "12", "vfio-pci");
  made.add("83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "mdev", "13");
  const vfio_sysfs sysfs{made.root()};
  CHECK(sysfs.group_of("0000:01:00.0").value() == "12");
  CHECK(sysfs.group_of("83b8f4f2-509f-382f-3c1e-e6bfe0fa1001").value() == "13");
}

TEST_CASE("a device that is not there, and one that no IOMMU translates, are told apart") {
  tether_test::fake_sysfs made;
  made.add("0000:02:00.0", "pci", "");
  const vfio_sysfs sysfs{made.root()};
  const auto absent = sysfs.group_of("0000:09:00.0");
  REQUIRE(!absent);
  CHECK(absent.error().is(errc::no_such_device));
  CHECK(absent.error().sentence().find("no such device is under /sys/bus/pci/devices") !=
        std::string::npos);
  const auto advice = [&](const char* name) { return sysfs.group_of(name).error().sentence(); };
  CHECK(advice("02:00.0").find("name its domain, too") != std::string::npos);
  CHECK(advice("83b8f4f2-509f-382f-3c1e-e6bfe0fa1001").find("/sys/bus/mdev/devices") !=
        std::string::npos);
  CHECK(advice("eth0").find("name a PCI address") != std::string::npos);
  const auto untranslated = sysfs.group_of("0000:02:00.0");
  REQUIRE(!untranslated);
  CHECK(untranslated.error().is(errc::no_such_device));
  CHECK(untranslated.error().sentence().find("intel_iommu=on") != std::string::npos);
  CHECK(!sysfs.group_of(""));
  // Entries of the folder that are no devices' names.
  for (const char* place : {".", "..", "../devices/0000:02:00.0"})
    CHECK(advice(place).find("name a PCI address") != std::string::npos);
  CHECK(!vfio_sysfs{made.root() / "nowhere"}.group_of("0000:02:00.0"));
}

TEST_CASE("only a device whose whole group is mediated pins on demand; what cannot be read pins") {
  tether_test::fake_sysfs made;
  made.add("0000:01:00.0", "pci", "12", "vfio-pci");
  made.add("vgpu", "mdev", "13");
  made.add("0000:03:00.0", "pci", "14", "vfio-pci");
  made.add("other-vgpu", "mdev", "14");
  const vfio_sysfs sysfs{made.root()};
  CHECK(sysfs.pins("12", "0000:01:00.0").value() == pin_class::pins);
  CHECK(sysfs.pins("13", "vgpu").value() == pin_class::pins_on_demand);
  CHECK(sysfs.pins("14", "other-vgpu").value() == pin_class::pins);
  CHECK(sysfs.pins("99", "vgpu").value() == pin_class::pins);
  const auto absent = sysfs.pins("13", "0000:01:00.0");
  REQUIRE(!absent);
  CHECK(absent.error().is(errc::no_such_device));
}

TEST_CASE("the devices that keep a group from being used are named, with their drivers") {
  tether_test::fake_sysfs made;
  made.add("0000:01:00.0", "pci", "12", "vfio-pci");
  made.add("0000:01:00.1", "pci", "12", "snd_hda_intel");
  made.add("0000:01:00.2", "pci", "12");
  made.add("0000:00:01.0", "pci", "12", "pcieport");
  const vfio_sysfs sysfs{made.root()};
  CHECK(sysfs.in_the_way("12") == std::vector<std::string>{"0000:01:00.1 (snd_hda_intel)"});
  CHECK(sysfs.driver_of("12", "0000:01:00.0") == "vfio-pci");
  CHECK(sysfs.driver_of("12", "0000:01:00.2").empty());
  CHECK(sysfs.devices_of("12").size() == 4);
  CHECK(sysfs.devices_of("99").empty());
}

TEST_CASE("a driver is VFIO's by what it makes for its device, not by its name") {
  tether_test::fake_sysfs made;
  made.add("0000:01:00.0", "pci", "12", "mlx5_vfio_pci");
  made.add("0000:01:00.1", "pci", "12", "vfiolin");
  const vfio_sysfs sysfs{made.root()};
  CHECK(sysfs.in_the_way("12").empty());  // before Linux 6.1 there is the name alone
  made.add_node("0000:01:00.0", "vfio0", "510:0");
  CHECK(sysfs.in_the_way("12") == std::vector<std::string>{"0000:01:00.1 (vfiolin)"});
}

TEST_CASE("of many devices in the way one is named whole, and the others are counted") {
  tether_test::fake_sysfs made;
  made.add("0000:01:00.0", "pci", "12", "vfio-pci");
  made.add_node("0000:01:00.0", "vfio0", "510:0");
  const vfio_sysfs sysfs{made.root()};
  const error why{"open group", errc::still_in_use};
  const auto said = [&] { return sysfs.why_not_viable(why, "12", "/dev/vfio/12").sentence(); };
  CHECK(said().find("'/dev/vfio/12': it is still in use; no driver is in the way") !=
        std::string::npos);
  for (const char* one : {"0000:01:00.1", "0000:01:00.2", "0000:01:00.3"})
    made.add(one, "pci", "12", "snd_hda_intel");
  CHECK(said().find("'/dev/vfio/12': it is still in use ('0000:01:00.") != std::string::npos);
  CHECK(said().find(" (snd_hda_intel)' is in the way); bind it, and 2 more of its group") !=
        std::string::npos);
  CHECK(sysfs.why_not_viable(why, "99", "/dev/vfio/99")
            .sentence()
            .find("'/dev/vfio/99': it is still in use; bind every device") != std::string::npos);
}

TEST_CASE("why a node is missing is asked: no IOMMU, no VFIO, no such group, not bound, not here") {
  tether_test::fake_sysfs made;
  const vfio_sysfs sysfs{made.root()};
  const auto group = [&](const char* number) { return std::string{sysfs.why_no_group(number)}; };
  const auto node = [&](const char* name) { return std::string{sysfs.why_no_node(name)}; };
  CHECK(group("12") == detail::turn_on_iommu);
  CHECK(node("vfio0") == detail::turn_on_iommu);
  CHECK(!sysfs.has_iommu());
  made.add("0000:01:00.1", "pci", "12", "snd_hda_intel");
  CHECK(group("12") == detail::load_vfio);
  CHECK(sysfs.has_iommu());
  CHECK(group("13").find("no such group") != std::string::npos);
  CHECK(node("vfio0") == detail::load_vfio);
  CHECK(sysfs.node_of("0000:01:00.1").error().sentence().ends_with(detail::load_vfio));
  made.add("0000:02:00.0", "pci", "14", "vfio-pci");
  made.add_node("0000:02:00.0", "vfio0", "510:0");
  CHECK(group("12").find("driver_override") != std::string::npos);
  CHECK(group("14") == detail::no_node_here);
  CHECK(node("vfio0") == detail::no_node_here);
  CHECK(node("vfio1") == detail::bind_it);
  CHECK(sysfs.node_of("0000:01:00.1").error().sentence().ends_with(detail::bind_it));

  made.add("0000:03:00.0", "pci", "15");
  made.add_group_node("noiommu-15", "509:15");
  made.add_node("0000:03:00.0", "vfio3", "");
  CHECK(group("15") == detail::turn_on_iommu);
  CHECK(sysfs.is_without_iommu("noiommu-15"));
  CHECK(!sysfs.is_without_iommu("14"));
  CHECK(sysfs.group_of("0000:03:00.0").error().sentence().ends_with(detail::turn_on_iommu));
  CHECK(sysfs.node_of("0000:03:00.0").error().sentence().ends_with(detail::turn_on_iommu));
  CHECK(node("vfio3").find("CONFIG_VFIO_DEVICE_CDEV") != std::string::npos);
}

TEST_CASE("the module's own limit of mappings is read, and the kernel's default stands in for it") {
  tether_test::fake_sysfs made;
  const vfio_sysfs sysfs{made.root()};
  CHECK(sysfs.mapping_limit() == 65535);
  made.set_mapping_limit(64);
  CHECK(sysfs.mapping_limit() == 64);
}

TEST_CASE("a mediated device is one by itself, whatever its neighbours are") {
  tether_test::fake_sysfs made;
  made.add("0000:03:00.0", "pci", "14", "vfio-pci");
  made.add("vgpu", "mdev", "14");
  const vfio_sysfs sysfs{made.root()};
  CHECK(sysfs.is_mediated("vgpu"));
  CHECK(!sysfs.is_mediated("0000:03:00.0"));
  CHECK(!sysfs.is_mediated("absent"));
  CHECK(!sysfs.is_mediated(""));
}

TEST_CASE(
    "a mediated device that an IOMMU stands behind pins: its group is not one of VFIO's own") {
  tether_test::fake_sysfs made;
  made.add("vgpu", "mdev", "13");
  const vfio_sysfs sysfs{made.root()};
  CHECK(sysfs.is_mediated("vgpu"));
  CHECK(sysfs.pins("13", "vgpu").value() == pin_class::pins_on_demand);
  made.put_iommu_behind("13");
  CHECK(!sysfs.is_mediated("vgpu"));
  CHECK(sysfs.pins("13", "vgpu").value() == pin_class::pins);
  CHECK(sysfs.pins("13") == pin_class::pins);
  made.add("without-group", "mdev", "");  // a kernel without VFIO's groups
  CHECK(sysfs.is_mediated("without-group"));
}

TEST_CASE("a device's own node is found, and the device behind a node") {
  tether_test::fake_sysfs made;
  made.add("0000:03:00.0", "pci", "14", "vfio-pci");
  made.add_node("0000:03:00.0", "vfio7", "510:7");
  const vfio_sysfs sysfs{made.root()};
  CHECK(sysfs.node_of("0000:03:00.0").value() == "vfio7");
  CHECK(sysfs.device_behind("/dev/vfio/devices/vfio7") == "0000:03:00.0");
  CHECK(sysfs.device_behind("vfio7") == "0000:03:00.0");
  CHECK(sysfs.device_behind("vfio8").empty());
}

TEST_CASE("a node's number tells which device or group it is, and nothing else does") {
  tether_test::fake_sysfs made;
  made.add("0000:03:00.0", "pci", "14", "vfio-pci");
  made.add_node("0000:03:00.0", "vfio7", "510:7");
  // /dev/null stands for a node that is called something else than sysfs has.
  made.add("0000:04:00.0", "pci", "15", "vfio-pci");
  made.add_node("0000:04:00.0", "vfio8", "1:3");
  const vfio_sysfs sysfs{made.root()};
  CHECK(sysfs.device_with_node("510:7") == "0000:03:00.0");
  CHECK(sysfs.device_with_node("510:8").empty());
  CHECK(sysfs.device_with_node("509:14").empty());
  CHECK(sysfs.device_with_node("").empty());
  CHECK(sysfs.group_with_node("509:14") == "14");
  CHECK(sysfs.group_with_node("510:7").empty());
  CHECK(sysfs.group_with_node("").empty());
  CHECK(sysfs.device_behind("/dev/null") == "0000:04:00.0");

  struct stat node{};
  REQUIRE(::stat("/dev/null", &node) == 0);
  CHECK(detail::node_number(node) == "1:3");
  REQUIRE(::stat("/", &node) == 0);
  CHECK(detail::node_number(node).empty());
}

}  // namespace runtime_backend_vfio_sysfs
