// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/vfio/joined_group.hpp>

#include <support/fake_sysfs.hpp>
#include <support/fake_vfio_kernel.hpp>
#include <support/must.hpp>
#include <support/pinned_memory.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <string>

namespace runtime_backend_vfio_joined_group {

using namespace tether;
using namespace tether::detail;
using tether_test::fake_vfio_kernel;
using tether_test::must;

namespace {

using opened_group = detail::joined_vfio_group<fake_vfio_kernel>;

const vfio_group twelve{"/dev/vfio/12"};

}  // namespace

TEST_CASE("a group that cannot be opened says why and what to do, and leaves nothing open") {
  auto& machine = fake_vfio_kernel::start_anew();
  tether_test::fake_sysfs made;
  made.add("0000:01:00.1", "pci", "12", "snd_hda_intel");
  made.add("0000:02:00.0", "pci", "13", "vfio-pci");
  const vfio_sysfs sysfs{made.root()};
  const auto before = tether_test::open_descriptors();
  const auto sentence = [&](vfio_group const& group) {
    const auto opened = opened_group::open(group, sysfs);
    return opened ? std::string{"(it opened)"} : opened.error().sentence();
  };
  CHECK(sentence(twelve).find("driver_override") != std::string::npos);
  made.add("0000:01:00.0", "pci", "12", "vfio-pci");
  machine.groups["/dev/vfio/12"].is = {.viable = false};
  CHECK(sentence(twelve).find("0000:01:00.1 (snd_hda_intel)") != std::string::npos);
  CHECK(opened_group::open(twelve, sysfs).error().is(errc::still_in_use));
  machine.groups["/dev/vfio/12"].is.viable = true;
  {
    const auto held = must(opened_group::open(twelve, sysfs));
    CHECK(opened_group::open(twelve, sysfs).error().is_errno(EBUSY));
  }
  {
    const injected_fault no_right{1, EACCES};
    CHECK(sentence(twelve).find("right to open") != std::string::npos);
  }
  {
    const kernel_descriptor<fake_vfio_kernel> no_group{
        fake_vfio_kernel::memfd_create("not a group", 0)};
    const auto refused =
        opened_group::open(vfio_group::from_descriptor(no_group.number(), "passed in"), sysfs);
    REQUIRE(!refused);
    CHECK(refused.error().is(errc::bad_descriptor));
  }
  CHECK(tether_test::open_descriptors() == before);
}

TEST_CASE("a group that no IOMMU stands before is refused as that, whatever the kernel says") {
  auto& machine = fake_vfio_kernel::start_anew();
  tether_test::fake_sysfs made;
  made.add("0000:01:00.0", "pci", "0");
  made.add_group_node("noiommu-0", "509:0");
  const vfio_sysfs sysfs{made.root()};
  const auto sentence = [&](const char* path) {
    return opened_group::open(vfio_group{path}, sysfs).error().sentence();
  };
  CHECK(sentence("/dev/vfio/0").find("No such file or directory; no IOMMU is on") !=
        std::string::npos);
  machine.groups["/dev/vfio/noiommu-0"].is.number = 0;
  CHECK(sentence("/dev/vfio/noiommu-0").find("not supported here; no IOMMU is on") !=
        std::string::npos);
  const injected_fault no_right{1, EPERM};
  CHECK(sentence("/dev/vfio/noiommu-0").find("no IOMMU is on") != std::string::npos);
}

TEST_CASE("a group that was passed in as a descriptor stays the caller's") {
  auto& machine = fake_vfio_kernel::start_anew();
  machine.groups["/dev/vfio/12"] = {};
  const kernel_descriptor<fake_vfio_kernel> owned{
      fake_vfio_kernel::call(SYS_openat, AT_FDCWD, "/dev/vfio/12", O_RDWR, 0)};
  REQUIRE(owned.number() >= 0);
  const kernel_descriptor<fake_vfio_kernel> container{
      fake_vfio_kernel::call(SYS_openat, AT_FDCWD, "/dev/vfio/vfio", O_RDWR, 0)};
  {
    auto group = must(opened_group::open(
        vfio_group::from_descriptor(owned.number(), "/dev/vfio/12"), vfio_sysfs{}));
    CHECK(group->descriptor() != owned.number());
    must(group->enter(container.number(), true));
    CHECK(group->in_container());
    // Somebody who was given the same descriptor learns that it is taken.
    const auto taken = opened_group::open(
        vfio_group::from_descriptor(owned.number(), "/dev/vfio/12"), vfio_sysfs{});
    REQUIRE(!taken);
    CHECK(taken.error().is(errc::already_there));
    must(group->leave("leave"));
    CHECK(!group->in_container());
  }
  CHECK(machine.groups["/dev/vfio/12"].open);
  CHECK(opened_group::open(vfio_group::from_descriptor(owned.number(), "/dev/vfio/12"),
                           vfio_sysfs{}));
}

}  // namespace runtime_backend_vfio_joined_group
