// SPDX-License-Identifier: BSL-1.0
#include <tether/attach/handles.hpp>

#include <tether/attach/container.hpp>
#include <tether/attach/tracing.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/testing/recording.hpp>

#include <support/must.hpp>
#include <support/pinning_iommu.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

namespace runtime_attach_handles {

using namespace tether;
using tether_test::pinning_iommu;
using tether_test::must;

namespace {

using container_type = container<software_iommu>;
static_assert(std::is_trivially_copyable_v<attached_group<container_type>> &&
              std::is_trivially_copyable_v<opened_device<container_type>>);

struct one_container {
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  region_id placed = must(guest.place(region::ram(ram), guest_address{0}));
  container_type dma{guest, gate};
};

}  // namespace

TEST_CASE_FIXTURE(
    one_container,
    "a device is used through its handle, and every copy of it is stale once it is closed") {
  auto group = must(dma.attach({"nics", {{"nic"}}}));
  auto device = must(group.open("nic"));
  const auto copy = device;
  const std::array<std::byte, 3> bytes{std::byte{1}, std::byte{2}, std::byte{3}};
  must(device->dma_write(io_address{0x100}, bytes));
  CHECK(ram.data()[0x102] == std::byte{3});
  must((*copy).dma_write(io_address{0x200}, bytes));
  must(must(copy.lease())->dma_write(io_address{0x300}, bytes));
  CHECK(ram.data()[0x302] == std::byte{3});
  must(device.close());
  CHECK(copy.lease().error().is(errc::stale_handle));
  CHECK(device.get() == nullptr);
  CHECK(copy.get() == nullptr);
  CHECK(device.close().error().is(errc::stale_handle));
}

TEST_CASE_FIXTURE(one_container,
                  "every use of a group that has detached answers that it is gone, even when one "
                  "of the same name is there again") {
  auto group = must(dma.attach({"nics", {{"nic"}}}));
  auto device = must(group.open("nic"));
  must(group.detach());
  CHECK(group.detach().error().is(errc::stale_handle));
  CHECK(group.open("nic").error().is(errc::stale_handle));
  CHECK(group.request_unplug().error().is(errc::stale_handle));
  CHECK(device.get() == nullptr);
  auto again = must(dma.attach({"nics", {{"nic"}}}));
  CHECK(group.open("nic").error().is(errc::stale_handle));
  CHECK(device.get() == nullptr);
  CHECK(must(again.open("nic")).get() != nullptr);
}

TEST_CASE_FIXTURE(one_container, "handles are keys: equal if they name the same, ordered if not") {
  auto group = must(dma.attach({"nics", {{"eth0"}, {"eth1"}}}));
  auto other = must(dma.attach({"disks", {{"nvme0"}}}));
  std::map<container_type::attached, int> groups{{group, 1}, {other, 2}};
  const auto copy = group;
  CHECK(groups.at(copy) == 1);
  CHECK(groups.at(other) == 2);

  std::map<container_type::opened, int> devices;
  const auto eth0 = must(group.open("eth0"));
  devices[eth0] = 1;
  devices[must(group.open("eth1"))] = 2;
  CHECK(devices.size() == 2);
  CHECK(devices.at(eth0) == 1);
}

TEST_CASE_FIXTURE(one_container, "handles have names, and are enumerated") {
  CHECK(dma.all_attached().empty());
  auto nics = must(dma.attach({"nics", {{"nic"}, {"disk"}}}));
  auto others = must(dma.attach({"others", {{"gpu"}}}));
  auto disk = must(nics.open("disk"));
  auto nic = must(nics.open("nic"));
  CHECK(nics.name() == label{"nics"});
  CHECK(nic.name() == label{"nic"});
  CHECK(dma.all_attached() == std::vector{nics, others});
  CHECK(nics.devices() == std::vector{disk, nic});
  CHECK(others.devices().empty());
  must(disk.close());
  CHECK(nics.devices() == std::vector{nic});
  CHECK(disk.name() == label{});
  must(nics.detach());
  CHECK(nics.name() == label{});
  CHECK(nic.name() == label{});
  CHECK(nics.devices().empty());
  CHECK(dma.all_attached() == std::vector{others});
}

TEST_CASE_FIXTURE(one_container,
                  "an unplug can be taken back until a device has been closed for it") {
  auto group = must(dma.attach({"nics", {{"nic"}, {"disk"}}}));
  must(group.cancel_unplug());  // none was requested
  auto nic = must(group.open("nic"));
  must(group.request_unplug());
  CHECK(dma.status().groups[0].unplug_requested);
  CHECK(group.open("disk").error().is(errc::unplug_requested));
  must(group.cancel_unplug());
  CHECK_FALSE(dma.status().groups[0].unplug_requested);
  auto disk = must(group.open("disk"));
  must(disk.close());  // not for an unplug
  must(group.request_unplug());
  must(group.cancel_unplug());
  must(group.request_unplug());
  must(nic.close());
  const auto late = group.cancel_unplug();
  REQUIRE_FALSE(late.has_value());
  CHECK(late.error().is(errc::unplug_requested));
  CHECK(late.error().subject() == "nics");
  CHECK(group.open("nic").error().is(errc::unplug_requested));
  must(group.detach());
  CHECK(group.cancel_unplug().error().is(errc::stale_handle));
}

TEST_CASE("a container's own name is in every error of it, beside the device's") {
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  journal calls;
  const auto placed = must(guest.place(region::ram(ram), guest_address{0}));
  container<recording<software_iommu>> dma{guest, gate, recording<software_iommu>{calls}, "south"};
  CHECK(dma.name() == "south");
  CHECK(dma.status().name == "south");
  const endpoint_group nics{"nics", {{"nic"}}};
  const auto names = [](error const& why) {
    return std::string{why.subject()} + " in " + std::string{why.container()};
  };
  calls.fail_at(backend_call::join, 1, error{"join", errc::still_in_use}.of("nics"));
  CHECK(names(dma.attach(nics).error()) == "nics in south");
  auto group = must(dma.attach(nics));
  CHECK(names(dma.attach(nics).error()) == "nics in south");
  calls.fail_at(backend_call::open, 1, error{"open", errc::still_in_use}.of("nic"));
  CHECK(names(group.open("nic").error()) == "nic in south");
  auto nic = must(group.open("nic"));
  calls.fail_at(backend_call::close, 1, error{"close", errc::still_in_use}.of("nic"));
  CHECK(names(nic.close().error()) == "nic in south");
  {
    const auto lease = must(nic.lease());
    const auto detached = group.detach();
    CHECK(names(detached.error()) == "nics in south");
    CHECK(detached.error().blocker() == "nic");
    const auto abandoned = dma.abandon();
    CHECK(names(abandoned.error()) == " in south");
    CHECK(abandoned.error().blocker() == "nic");
  }
  // a change of the map, whatever is attached
  calls.fail_at(backend_call::map, 1, error{"map", errc::over_budget}.of("more"));
  ram_block more = must(ram_block::allocate("more", 64 * KiB));
  CHECK(names(guest.place(region::ram(more), guest_address{1 * MiB}).error()) == "more in south");
  must(nic.close());
  CHECK(names(nic.close().error()) == " in south");
  CHECK(names(nic.lease().error()) == " in south");
  must(group.detach());
  CHECK(names(group.request_unplug().error()) == " in south");
  CHECK(names(group.cancel_unplug().error()) == " in south");
  CHECK(dma.status().name == "south");
  must(guest.remove(placed));
}

TEST_CASE("a container's own name is its holder's in the gate, and the tracer's") {
  struct hears_names {
    using slot = tracing_slot;
    std::string container{};
    void traced(trace_event const& what) noexcept { container = what.container; }
  };
  address_space guest;
  discard_gate<> gate;
  container<pinning_iommu, inhibit_per_container, hears_names> dma{guest, gate, "south"};
  auto group = must(dma.attach({"nics", {{"nic"}}}));
  CHECK(gate.status().holders.at(0).name == label{"south"});
  CHECK(dma.tracer().container == "south");
  must(group.detach());
}

}  // namespace runtime_attach_handles
