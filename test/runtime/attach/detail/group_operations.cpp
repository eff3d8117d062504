// SPDX-License-Identifier: BSL-1.0
#include <tether/attach/detail/group_operations.hpp>

#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

namespace runtime_attach_detail_group_operations {

using namespace tether;
using namespace tether::detail;
using tether_test::must;

namespace {

struct small_machine {
  ram_block ram = must(ram_block::allocate("ram", 256 * KiB));
  address_space guest;
  discard_gate<> gate;
  region_id placed = must(guest.place(region::ram(ram), guest_address{0}));
  container<software_iommu> dma{guest, gate};
};

}  // namespace

TEST_CASE_FIXTURE(small_machine, "the same group cannot be attached twice") {
  static_cast<void>(must(dma.attach({"a", {{"nic"}}})));
  const auto again = dma.attach({"a", {{"nic"}}});
  REQUIRE_FALSE(again.has_value());
  CHECK(again.error().is(errc::already_there));
  CHECK(again.error().subject() == "a");
}

TEST_CASE_FIXTURE(small_machine,
                  "a group's devices are opened once each, out of a group that is to stay") {
  auto group = must(dma.attach({"nics", {{"nic"}, {"disk"}}}));
  auto nic = must(group.open("nic"));
  CHECK(group.open("nic").error().is(errc::already_there));
  CHECK(group.open("gpu").error().is(errc::no_such_device));
  must(group.request_unplug());
  CHECK(group.open("disk").error().is(errc::unplug_requested));
  CHECK(nic.get() != nullptr);
  must(group.detach());
  CHECK(nic.get() == nullptr);
  CHECK(group.open("nic").error().is(errc::stale_handle));
  CHECK(nic.close().error().is(errc::stale_handle));
}

}  // namespace runtime_attach_detail_group_operations
