// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/open_backend.hpp>

#include <tether/backend/iommufd.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/testing/recording.hpp>

#include <support/failing_allocation.hpp>
#include <support/fake_sysfs.hpp>
#include <support/iommufd_bench.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <system_error>
#include <vector>

namespace runtime_backend_open_backend {

using namespace tether;
using tether_test::fake_iommufd_kernel;
using tether_test::must;

TEST_CASE("a backend is opened by its own open if it has one, else by its constructor") {
  CHECK(must(open_backend<software_iommu>()).free_mappings() == 65535);
  CHECK(must(open_backend<software_iommu>(software_iommu_options{.budget = 7})).free_mappings() ==
        7);
  CHECK(must(open_backend<vfio_type1>(vfio_sysfs{"/nowhere"})).free_mappings() == 65535);
  CHECK(must(open_backend<recording<software_iommu>>()).free_mappings() == 65535);
  tether_test::iommufd_bench machine;
  using backend = tether_test::iommufd_bench::backend_type;
  CHECK(must(open_backend<backend>(machine.context, machine.sysfs())).usable_iova().size() != 0);
  CHECK(must(open_backend<backend>()).usable_iova().size() != 0);
}

TEST_CASE("what a backend's own open says is passed on, and no memory is an error") {
  tether_test::iommufd_bench machine;
  using backend = tether_test::iommufd_bench::backend_type;
  fake_iommufd_kernel::fail_at(1, ENOENT);
  const auto none = open_backend<backend>(machine.sysfs());
  REQUIRE_FALSE(none);
  CHECK(none.error().sentence() ==
        "open iommufd of '/dev/iommu': No such file or directory; load the iommufd module "
        "(CONFIG_IOMMUFD, Linux 6.6), or use vfio_type1");
  const tether_test::fake_sysfs bare;
  fake_iommufd_kernel::fail_at(1, ENOENT);
  CHECK(open_backend<backend>(vfio_sysfs{bare.root()}).error().sentence() ==
        "open iommufd of '/dev/iommu': No such file or directory; no IOMMU is on: turn it on "
        "(intel_iommu=on, or the firmware's setting)");
  if (!tether_test::allocations_can_fail) return tether_test::cannot_fail_allocations();
  tether_test::failing_allocation = 1;
  const auto soft = open_backend<software_iommu>();
  tether_test::failing_allocation = 0;
  REQUIRE_FALSE(soft);
  CHECK(soft.error().code() == std::make_error_code(std::errc::not_enough_memory));
}

}  // namespace runtime_backend_open_backend
