// SPDX-License-Identifier: BSL-1.0
#include <tether/attach/handles.hpp>

#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <type_traits>

namespace runtime_attach_handles {

using namespace tether;
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

}  // namespace runtime_attach_handles
