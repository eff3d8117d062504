// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/vfio/cdev.hpp>

#include <support/fake_sysfs.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <string_view>

namespace runtime_backend_vfio_cdev {

using namespace tether;
using tether_test::must;

TEST_CASE("a device is named by its node, by PCI address or UUID, or by a descriptor") {
  tether_test::fake_sysfs made;
  made.add("0000:01:00.0", "pci", "12", "vfio-pci");
  made.add_node("0000:01:00.0", "vfio3", "510:3");
  made.add("some-uuid", "mdev", "", "vfio_mdev");
  made.add_node("some-uuid", "vfio4", "510:4");
  const vfio_sysfs sysfs{made.root()};

  const vfio_cdev by_path{"/dev/vfio/devices/vfio3", sysfs};
  CHECK(by_path.name() == "0000:01:00.0");
  CHECK(by_path.group() == "12");
  CHECK(std::string_view{by_path.path()} == "/dev/vfio/devices/vfio3");
  CHECK(by_path.descriptor() < 0);

  const auto by_address = must(vfio_cdev::of("0000:01:00.0", sysfs));
  CHECK(std::string_view{by_address.path()} == "/dev/vfio/devices/vfio3");
  CHECK(by_address.name() == "0000:01:00.0");
  CHECK(by_address.group() == "12");
  CHECK(by_address.by_name());
  CHECK_FALSE(by_path.by_name());

  // Without an IOMMU group it is a group of its own.
  const auto mediated = must(vfio_cdev::of("some-uuid", sysfs));
  CHECK(std::string_view{mediated.path()} == "/dev/vfio/devices/vfio4");
  CHECK(mediated.group() == "some-uuid");

  const auto passed_in = vfio_cdev::from_descriptor(5, "0000:01:00.0", sysfs);
  CHECK(passed_in.descriptor() == 5);
  CHECK(passed_in.name() == "0000:01:00.0");
  CHECK(passed_in.group() == "12");

  CHECK_FALSE(passed_in.by_name());

  const vfio_cdev unknown{"/dev/vfio/devices/vfio9", sysfs};
  CHECK(unknown.name() == "/dev/vfio/devices/vfio9");
  CHECK(unknown.group() == "/dev/vfio/devices/vfio9");
}

TEST_CASE(
    "a path is named after the device that it leads to, not after what sysfs has under the name of "
    "its node") {
  tether_test::fake_sysfs made;
  made.add("0000:01:00.0", "pci", "12", "vfio-pci");
  made.add_node("0000:01:00.0", "null", "510:3");
  made.add("some-uuid", "mdev", "13", "vfio_mdev");
  made.add_node("some-uuid", "vfio4", "1:3");  // what /dev/null has everywhere
  const vfio_cdev by_path{"/dev/null", vfio_sysfs{made.root()}};
  CHECK(by_path.name() == "some-uuid");
  CHECK(by_path.group() == "13");
}

TEST_CASE(
    "a device without a node is told apart: absent, not bound to VFIO, a kernel without such "
    "nodes") {
  tether_test::fake_sysfs made;
  made.add("0000:01:00.0", "pci", "12", "e1000e");
  made.add("0000:02:00.0", "pci", "13", "vfio-pci");
  made.add_node("0000:02:00.0", "vfio0", "");
  const vfio_sysfs sysfs{made.root()};
  const auto why = [&](std::string_view device) {
    const auto named = vfio_cdev::of(device, sysfs);
    REQUIRE(!named);
    CHECK(named.error().subject() == device);
    return named.error();
  };
  CHECK(why("0000:09:00.0").is(errc::no_such_device));
  CHECK(why("0000:09:00.0").sentence().find("/sys/bus/pci/devices") != std::string::npos);
  CHECK(why("0000:01:00.0").is(errc::no_such_device));
  CHECK(why("0000:01:00.0").sentence().find("driver_override") != std::string::npos);
  CHECK(why("0000:02:00.0").is(errc::unsupported));
  CHECK(why("0000:02:00.0").sentence().find("VFIO_DEVICE_CDEV") != std::string::npos);
  CHECK(!vfio_cdev::of("", sysfs));
}

}  // namespace runtime_backend_vfio_cdev
