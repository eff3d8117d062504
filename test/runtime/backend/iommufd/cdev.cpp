// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/iommufd/cdev.hpp>

#include <support/iommufd_bench.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>

namespace runtime_backend_iommufd_cdev {

using namespace tether;
using namespace tether::detail;
using tether_test::fake_iommufd_kernel;
using tether_test::iommufd_bench;
using tether_test::must;

namespace {

pin_class look(vfio_cdev const& named, vfio_sysfs const& sysfs) {
  return detail::classify_cdev<fake_iommufd_kernel>(named, sysfs);
}

}  // namespace

TEST_CASE("a look opens nothing, and what it cannot see pins") {
  iommufd_bench b;
  CHECK(look(b.mtty, b.sysfs()) == pin_class::pins_on_demand);
  CHECK(look(b.edu, b.sysfs()) == pin_class::pins);
  {
    const injected_fault unseen{1, EIO};
    CHECK(look(b.mtty, b.sysfs()) == pin_class::pins);
  }
  CHECK(look(vfio_cdev{"/dev/vfio/devices/vfio99", b.sysfs()}, b.sysfs()) == pin_class::pins);
  b.machine.devices.at(b.mtty.path()).is.number = 77;  // sysfs has no such node
  CHECK(look(b.mtty, b.sysfs()) == pin_class::pins);
  CHECK(b.machine.files.size() == 1);  // the context
}

TEST_CASE("what was opened is known by its number, whatever its node is called") {
  iommufd_bench b;
  b.machine.devices.at(b.mtty.path()).is.number = 1;  // the second of the bench, in group 13
  const auto opened = must(detail::open_cdev<fake_iommufd_kernel>(b.mtty, b.sysfs()));
  CHECK(opened.state()->attachment.pins == pin_class::pins);
  CHECK(opened.state()->attachment.group == "13");
  const auto refused = detail::open_cdev<fake_iommufd_kernel>(
      must(vfio_cdev::of("some-uuid", b.sysfs())), b.sysfs());
  REQUIRE(!refused);
  CHECK(refused.error().is(errc::no_such_device));
  CHECK(refused.error().number() == 1);
  CHECK(b.machine.files.size() == 2);
}

TEST_CASE("a device in a second container is told as bound, and what is no node as none") {
  iommufd_bench b;
  auto here = b.container();
  auto there =
      must(iommufd_bench::backend_type::open(must(iommufd_bench::context_type::open()), b.sysfs()));
  const auto device = b.joined(here, b.edu);
  auto again = must(there.open(b.edu));
  const auto taken = there.bind(again);
  REQUIRE(!taken);
  CHECK(taken.error().is(errc::already_there));
  CHECK(taken.error().sentence().find("another container") != std::string::npos);
  b.machine.devices.at(b.edu.path()).is.number = 77;  // sysfs has no such node
  CHECK(there.bind(again).error().is(errc::bad_descriptor));
  CHECK(detail::why_not_bound(*again.state(), b.sysfs(), EPERM)
            .sentence()
            .find("allow_unsafe_interrupts") != std::string::npos);
}

TEST_CASE("whichever call fails, nothing stays open") {
  iommufd_bench b;
  for (auto const& named : {b.mtty, must(vfio_cdev::of("some-uuid", b.sysfs()))}) {
    for (std::uint64_t n = 1;; ++n) {
      const injected_fault fault{n, EIO};
      const auto opened = detail::open_cdev<fake_iommufd_kernel>(named, b.sysfs());
      if (!fault.fired()) {
        CHECK(opened);
        CHECK(n == 3);
        break;
      }
      REQUIRE(!opened);
      CHECK(opened.error().is_errno(EIO));
      CHECK(b.machine.files.size() == 1);
    }
  }
}

}  // namespace runtime_backend_iommufd_cdev
