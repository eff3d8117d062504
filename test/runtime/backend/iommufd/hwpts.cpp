// SPDX-License-Identifier: BSL-1.0
// The order in which page tables are tried. What becomes of them is in iommufd.cpp, where
// containers are.
#include <tether/backend/iommufd/hwpts.hpp>

#include <support/fake_iommufd_kernel.hpp>
#include <support/iommufd_bench.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <string>
#include <vector>

namespace runtime_backend_iommufd_hwpts {

using namespace tether;
using namespace tether::detail;
using tether_test::fake_iommufd_kernel;
using tether_test::iommufd_bench;
using tether_test::must;
namespace abi = tether::detail::iommufd_uapi;

TEST_CASE(
    "a device tries the page tables that are in use, then one of its own, then leaves the choice "
    "to the kernel") {
  iommufd_bench b;
  auto iommu = b.container();
  auto first = b.joined(iommu, b.edu);
  auto second = b.bound(iommu, b.gpu);
  b.machine.requests.clear();
  must(iommu.join(second));
  CHECK(b.machine.requests ==
        std::vector<unsigned long>{abi::attach_device.number, abi::allocate_page_table.number,
                                   abi::attach_device.number, abi::read_limits.number});
  must(iommu.leave(second));
  b.machine.allocates_page_tables = false;
  b.machine.requests.clear();
  must(iommu.join(second));
  CHECK(b.machine.requests ==
        std::vector<unsigned long>{abi::attach_device.number, abi::allocate_page_table.number,
                                   abi::attach_device.number, abi::read_limits.number});
  CHECK(second.state()->attachment.page_table == 0);
}

TEST_CASE(
    "devices that are attached elsewhere with a neighbour, or need larger pages, are refused with "
    "the reason") {
  iommufd_bench b;
  auto here = b.container();
  auto there = b.container();
  auto first = b.joined(here, b.edu);
  auto mate = b.bound(there, b.mate);
  const auto before = b.machine.seen();
  const auto torn = there.join(mate);
  REQUIRE(!torn);
  CHECK(torn.error().is_errno(EINVAL));
  CHECK(torn.error().sentence().find("attached elsewhere") != std::string::npos);
  CHECK(b.machine.seen() == before);
  b.machine.devices.at("/dev/vfio/devices/vfio1").is.alignment = 64 * KiB;
  auto large = b.bound(there, b.nic);
  CHECK(there.join(large).error().sentence().find("as small as the host's") != std::string::npos);
  must(here.join(mate));
}

TEST_CASE(
    "only EINVAL and its like lead to the next page tables; anything else is told, and the new "
    "ones destroyed") {
  iommufd_bench b;
  auto iommu = b.container();
  auto device = b.bound(iommu, b.edu);
  const auto before = b.machine.seen();
  for (const int why : {EPERM, ENOMEM, EBUSY, EADDRINUSE, ERANGE}) {
    for (const std::uint64_t n : {1U, 2U}) {
      const injected_fault fault{n, why};
      const auto refused = iommu.join(device);
      REQUIRE(!refused);
      CHECK(refused.error().subject() == "0000:01:00.0");
      CHECK(refused.error().is(errc::outside_aperture) == (why == EADDRINUSE || why == ERANGE));
      if (why == EBUSY)
        CHECK(refused.error().sentence().find("being reset: then try again") != std::string::npos);
      CHECK(b.machine.seen() == before);
    }
  }
  const injected_fault unsafe{1, EPERM};
  CHECK(iommu.join(device).error().sentence().find("allow_unsafe_interrupts") != std::string::npos);
}

}  // namespace runtime_backend_iommufd_hwpts
