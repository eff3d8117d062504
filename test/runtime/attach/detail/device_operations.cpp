// SPDX-License-Identifier: BSL-1.0
#include <tether/attach/detail/device_operations.hpp>

#include <support/must.hpp>
#include <support/passthrough.hpp>
#include <support/ungrouped.hpp>

#include <doctest/doctest.h>

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
