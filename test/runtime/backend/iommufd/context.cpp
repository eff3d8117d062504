// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/iommufd/context.hpp>

#include <support/fake_iommufd_kernel.hpp>
#include <support/fake_sysfs.hpp>
#include <support/must.hpp>
#include <support/pinned_memory.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <optional>
#include <string>

namespace runtime_backend_iommufd_context {

using namespace tether;
using tether_test::fake_iommufd_kernel;
using tether_test::must;
using context = basic_iommufd_context<fake_iommufd_kernel>;

TEST_CASE("a context is shared by its copies and closes with the last of them") {
  fake_iommufd_kernel::start_anew();
  const auto before = tether_test::open_descriptors();
  std::optional<context> copy;
  {
    const auto opened = must(context::open());
    copy = opened;
    CHECK(&copy->shared() == &opened.shared());
    opened.found_that_it_maps_no_files();
    CHECK(!copy->maps_files());
  }
  CHECK(copy->descriptor() >= 0);
  CHECK(tether_test::open_descriptors() == before + 1);
  copy.reset();
  CHECK(tether_test::open_descriptors() == before);
}

TEST_CASE("a context that was passed in stays the caller's") {
  auto& machine = fake_iommufd_kernel::start_anew();
  const kernel_descriptor<fake_iommufd_kernel> owned{
      fake_iommufd_kernel::call(SYS_openat, AT_FDCWD, "/dev/iommu", O_RDWR, 0)};
  {
    const auto passed_in = must(context::from_descriptor(owned.number()));
    CHECK(passed_in.descriptor() != owned.number());
    CHECK(machine.files.at(passed_in.descriptor()).as_context ==
          machine.files.at(owned.number()).as_context);
  }
  CHECK(machine.files.contains(owned.number()));
  CHECK(context::from_descriptor(-1).error().is_errno(EBADF));
}

TEST_CASE("whose locked memory counts is set when the context is opened, and only by whoever may") {
  auto& machine = fake_iommufd_kernel::start_anew();
  const auto before = tether_test::open_descriptors();
  {
    const auto by_process = must(context::open(iommufd_accounting::per_process));
    CHECK(machine.files.at(by_process.descriptor()).as_context->by_process);
    const auto by_user =
        must(context::from_descriptor(by_process.descriptor(), iommufd_accounting::per_user));
    CHECK(!machine.files.at(by_process.descriptor()).as_context->by_process);
    machine.requests.clear();
    const auto as_it_is = must(context::open());
    CHECK(machine.requests.empty());
    detail::iommufd_uapi::new_ioas something{};
    REQUIRE(detail::call_iommufd<fake_iommufd_kernel>(
                by_user.descriptor(), detail::iommufd_uapi::allocate_ioas, something) == 0);
    const auto too_late =
        context::from_descriptor(by_user.descriptor(), iommufd_accounting::per_process);
    REQUIRE(!too_late);
    CHECK(too_late.error().is_errno(EBUSY));
    CHECK(too_late.error().sentence().find("set it first") != std::string::npos);
  }
  machine.privileged = false;
  const auto refused = context::open(iommufd_accounting::per_process);
  REQUIRE(!refused);
  CHECK(refused.error().is_errno(EPERM));
  CHECK(refused.error().sentence().find("CAP_SYS_RESOURCE") != std::string::npos);
  CHECK(tether_test::open_descriptors() == before);
}

TEST_CASE(
    "a kernel without iommufd and a node without permission are told apart, and nothing stays "
    "open") {
  auto& machine = fake_iommufd_kernel::start_anew();
  const auto before = tether_test::open_descriptors();
  machine.there = false;
  const tether_test::fake_sysfs made;
  const vfio_sysfs sysfs{made.root()};
  const auto off = context::open(iommufd_accounting::as_it_is, sysfs);
  REQUIRE(!off);
  CHECK(off.error().is_errno(ENOENT));
  CHECK(off.error().sentence().ends_with(detail::turn_on_iommu));
  made.add("0000:01:00.0", "pci", "12", "vfio-pci");
  const auto absent = context::open(iommufd_accounting::as_it_is, sysfs);
  REQUIRE(!absent);
  CHECK(absent.error().is_errno(ENOENT));
  CHECK(absent.error().sentence().find("CONFIG_IOMMUFD") != std::string::npos);
  const injected_fault no_right{1, EACCES};
  const auto refused = context::open();
  REQUIRE(!refused);
  CHECK(refused.error().sentence().find("right to open") != std::string::npos);
  CHECK(tether_test::open_descriptors() == before);
}

}  // namespace runtime_backend_iommufd_context
