// SPDX-License-Identifier: BSL-1.0
// The descriptor alone. What groups make of it is in vfio_type1.cpp.
#include <tether/backend/vfio/type1_container.hpp>

#include <tether/backend/vfio/joined_group.hpp>

#include <support/fake_vfio_kernel.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <vector>

namespace runtime_backend_vfio_type1_container {

using namespace tether;
using tether_test::fake_vfio_kernel;
using tether_test::must;

namespace {

using container = detail::vfio_type1_container<fake_vfio_kernel>;
using joined = detail::joined_vfio_group<fake_vfio_kernel>;

}  // namespace

TEST_CASE("it is opened, and closed when destroyed; a call that fails leaves it closed") {
  auto& machine = fake_vfio_kernel::start_anew();
  {
    container one;
    CHECK_FALSE(one.is_open());
    CHECK(one.descriptor() < 0);
    must(one.open());
    CHECK(one.is_open());
    CHECK(machine.files.size() == 1);
    one.close();
    CHECK_FALSE(one.is_open());
    CHECK(machine.files.empty());
    must(one.open());
  }
  CHECK(machine.files.empty());
  for (std::uint64_t n = 1; n <= 3; ++n) {
    container one;
    const injected_fault fault{n, EIO};
    const auto opened = one.open();
    REQUIRE(!opened);
    CHECK(opened.error().subject() == "/dev/vfio/vfio");
    CHECK_FALSE(one.is_open());
    CHECK(machine.files.empty());
  }
}

TEST_CASE("a kernel with another API, or without type1v2, is refused by name") {
  auto& machine = fake_vfio_kernel::start_anew();
  container one;
  machine.type1v2 = false;
  CHECK(one.open().error().is(errc::unsupported));
  machine.type1v2 = true;
  machine.api_version = VFIO_API_VERSION + 1;
  CHECK(one.open().error().is(errc::unsupported));
  CHECK(machine.files.empty());
}

TEST_CASE("without a group it is no IOMMU, and the refusal names the group") {
  fake_vfio_kernel::start_anew();
  container one;
  must(one.open());
  const auto refused = one.set_iommu("/dev/vfio/12");
  REQUIRE(!refused);
  CHECK(refused.error().is_errno(EINVAL));
  CHECK(refused.error().subject() == "/dev/vfio/12");
}

TEST_CASE("with a group it reads its limits, and unmaps everything at once or in two halves") {
  auto& machine = fake_vfio_kernel::start_anew();
  machine.groups["/dev/vfio/12"] = {};
  container one;
  must(one.open());
  const auto group = must(joined::open(vfio_group{"/dev/vfio/12"}, vfio_sysfs{}));
  must(group->enter(one.descriptor(), true));
  CHECK(must(one.set_iommu(group->name())).usable.size() == 2);
  CHECK(must(one.read_info()).page_sizes.smallest() == 4 * KiB);
  const auto unmaps = [&](std::uint64_t failing) {
    machine.requests.clear();
    const injected_fault fault{1 + failing, EIO};  // the first call asks for the extension
    return one.unmap_everything();
  };
  CHECK(unmaps(2));
  CHECK(machine.requests == std::vector<unsigned long>{VFIO_CHECK_EXTENSION, VFIO_IOMMU_UNMAP_DMA});
  CHECK(unmaps(1).error().is_errno(EIO));
  machine.unmap_all = false;
  CHECK_FALSE(unmaps(1).error().rollback_failed());
  CHECK(unmaps(2).error().rollback_failed());
  CHECK(unmaps(3));
}

}  // namespace runtime_backend_vfio_type1_container
