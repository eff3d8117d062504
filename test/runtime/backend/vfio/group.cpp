// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/vfio/group.hpp>

#include <support/fake_sysfs.hpp>

#include <doctest/doctest.h>

namespace runtime_backend_vfio_group {

using namespace tether;

TEST_CASE("a VFIO group is named by its node, by one of its devices, or by a descriptor") {
  const vfio_group by_path{"/dev/vfio/12"};
  CHECK(by_path.name() == "/dev/vfio/12");
  CHECK(by_path.number() == "12");
  CHECK(by_path.descriptor() < 0);

  tether_test::fake_sysfs made;
  made.add("0000:01:00.0", "pci", "7", "vfio-pci");
  const auto by_device = vfio_group::of("0000:01:00.0", vfio_sysfs{made.root()});
  REQUIRE(by_device);
  CHECK(by_device->name() == "/dev/vfio/7");
  CHECK(by_device->by_device());
  CHECK_FALSE(by_path.by_device());
  CHECK(vfio_group::of("0000:02:00.0", vfio_sysfs{made.root()}).error().is(errc::no_such_device));

  const auto passed_in = vfio_group::from_descriptor(5, "/dev/vfio/12");
  CHECK(passed_in.descriptor() == 5);
  CHECK(passed_in.number() == "12");
}

}  // namespace runtime_backend_vfio_group
