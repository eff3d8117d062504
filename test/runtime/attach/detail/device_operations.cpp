// SPDX-License-Identifier: BSL-1.0
#include <tether/attach/detail/device_operations.hpp>

#include <support/must.hpp>
#include <support/passthrough.hpp>
#include <support/ungrouped.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

namespace runtime_attach_detail_device_operations {

using namespace tether;
using namespace tether::detail;
using namespace tether_test;

namespace {

using lone_software = one_by_one<on_software>;
using container_type = container<lone_software::backend_type>;
static_assert(std::is_same_v<container_type::attached, container_type::opened>);

}  // namespace

TEST_CASE("the same device is attached once, and none of a group that is to go") {
  passthrough<lone_software> w{must(lone_software::make())};
  auto nic = must(w.dma->attach(lone_nic()));
  CHECK(w.dma->attach(lone_nic("nic", "8")).error().is(errc::already_there));
  must(nic.request_unplug());
  CHECK(w.dma->attach(lone_nic("disk", "7")).error().is(errc::unplug_requested));
  CHECK(w.disagreements(*nic) == 0);
  static_cast<void>(must(w.dma->attach(lone_nic("disk", "8"))));
  must(nic.detach());
  nic = must(w.dma->attach(lone_nic()));
}

TEST_CASE("an unplug of one is of its group, and is taken back until one of that has gone") {
  passthrough<lone_software> w{must(lone_software::make())};
  auto one = must(w.dma->attach(lone_vgpu("one", "9"), agrees_to_discards));
  auto two = must(w.dma->attach(lone_vgpu("two", "9"), agrees_to_discards));
  CHECK(w.dma->all_attached() == std::vector{one, two});
  CHECK(two.name() == label{"two"});
  must(one.request_unplug());
  must(two.cancel_unplug());
  auto three = must(w.dma->attach(lone_vgpu("three", "9"), agrees_to_discards));
  must(one.request_unplug());
  must(three.detach());
  CHECK(three.name() == label{});
  CHECK(two.cancel_unplug().error().is(errc::unplug_requested));
  must(one.detach());
  must(two.detach());
  CHECK(w.dma->all_attached().empty());
}

TEST_CASE("a device, and its group, are attached since then") {
  passthrough<lone_software> w{must(lone_software::make())};
  const std::int64_t before = now_in_seconds();
  static_cast<void>(must(w.dma->attach(lone_nic())));
  const auto groups = w.dma->status().groups;
  REQUIRE(groups.size() == 1);
  REQUIRE(groups.front().devices.size() == 1);
  for (const std::int64_t since : {groups.front().since, groups.front().devices.front().since})
    CHECK((before <= since && since <= now_in_seconds()));
}

TEST_CASE(
    "counts count a group from its first device to its last, and each device for what it said") {
  passthrough<lone_software> w{must(lone_software::make())};
  auto vgpu = must(w.dma->attach(lone_vgpu("one", "9"), agrees_to_discards));
  CHECK(w.dma->membership() == container_counts{.members = 1, .need_no_hold = 1});
  auto second = must(w.dma->attach(lone_vgpu("two", "9"), agrees_to_discards));
  CHECK(w.dma->membership() == container_counts{.members = 1, .need_no_hold = 1});
  auto nic = must(w.dma->attach(lone_nic()));
  CHECK(w.dma->membership() == container_counts{.members = 2, .need_no_hold = 1});
  must(vgpu.detach());
  must(second.detach());
  CHECK(w.dma->membership() == container_counts{.members = 1, .need_no_hold = 0});
  must(nic.detach());
  CHECK(w.dma->membership() == container_counts{});
}

}  // namespace runtime_attach_detail_device_operations
