// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/vfio/bar_view.hpp>

#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/backend/vfio/device.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/fake_vfio_kernel.hpp>
#include <support/iommufd_bench.hpp>
#include <support/joined_vfio_group.hpp>
#include <support/must.hpp>
#include <support/passthrough.hpp>
#include <support/pinned_memory.hpp>

#include <doctest/doctest.h>

#include <array>
#include <barrier>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <utility>

namespace runtime_backend_vfio_bar_view {

using namespace tether;
using tether_test::fake_vfio_kernel;
using tether_test::must;
using tether_test::joined_vfio_group::fake_device;
using tether_test::joined_vfio_group::joined;

TEST_CASE("a BAR is mapped, used, and keeps its device open") {
  joined at;
  auto one = at.open();
  CHECK(one.map_bar(1).error().is(errc::unsupported));
  CHECK(one.map_bar(VFIO_PCI_CONFIG_REGION_INDEX).error().is(errc::unsupported));
  {
    auto bar = must(one.map_bar(0));
    auto moved = std::move(bar);
    CHECK(one.views() == 1);
    CHECK(moved.size() == tether_test::fake_vfio::bar_size);
    moved.write<std::uint32_t>(8, 0xcafe'f00d);
    CHECK(moved.read<std::uint32_t>(8) == 0xcafe'f00d);
    // and where it is mapped the same is seen
    auto const* const mapped = reinterpret_cast<std::uint32_t const volatile*>(moved.host().value);
    CHECK(mapped[2] == 0xcafe'f00d);
    const auto busy = one.close();
    REQUIRE(!busy);
    CHECK(busy.error().is(errc::still_in_use));
    CHECK(one.descriptor() >= 0);
  }
  CHECK(one.views() == 0);
  must(one.close());
  CHECK(one.close().error().is(errc::stale_handle));
  must(at.iommu.leave(at.group));
  at.group.reset();
  CHECK(tether_test::open_descriptors() == at.before);
}

TEST_CASE("a device of another container reaches a BAR by the address of its view") {
  joined at;
  auto one = at.open();
  {
    auto bar = must(one.map_bar(0));
    auto block = must(ram_block::borrow("BAR 0", bar.host(), bar.size(), memory_kind::device));
    address_space guest;
    discard_gate<> gate;
    constexpr guest_address bar_at{1 * GiB};
    const auto placed = must(guest.place(region::ram_device(block), bar_at));
    container<software_iommu, fixed_block<64 * KiB>> dma{guest, gate};
    auto group = must(dma.attach(tether_test::pinning_group()));
    auto nic = must(group.open("nic"));
    CHECK(dma.usage().bytes == bar.size());
    bar.write<std::uint32_t>(8, 0xcafe'f00d);
    std::array<std::byte, 4> carried{};
    must(nic->dma_read(io_address{bar_at.value + 8}, carried));
    CHECK(std::bit_cast<std::uint32_t>(carried) == 0xcafe'f00d);
    must(nic->dma_write(io_address{bar_at.value + 12}, carried));
    CHECK(bar.read<std::uint32_t>(12) == 0xcafe'f00d);
    // what is no memory of the host's is never discarded
    const auto permit = gate.permit(discard_kind::uncoordinated);
    const auto kept = block.discard({block_offset{0}, block_offset{bar.size() - 1}}, permit);
    REQUIRE_FALSE(kept.has_value());
    CHECK(kept.error().is(errc::unsupported));
    CHECK(bar.read<std::uint32_t>(8) == 0xcafe'f00d);
    // before the view goes nobody reaches it any more
    must(guest.remove(placed));
    CHECK(dma.usage() == mapped_usage{});
    CHECK_FALSE(nic->dma_read(io_address{bar_at.value + 8}, carried).has_value());
    must(group.detach());
    must(block.free());
  }
  must(one.close());
  must(at.iommu.leave(at.group));
}

TEST_CASE("a view that outlives its device is still good, and the last one closes the device") {
  joined at;
  std::optional<basic_bar_view<fake_vfio_kernel>> bar;
  std::size_t opened = 0;
  {
    auto one = at.open();
    bar.emplace(must(one.map_bar(0)));
    opened = tether_test::open_descriptors();
  }
  CHECK(tether_test::open_descriptors() == opened);
  bar->write<std::uint32_t>(0, 5);
  CHECK(bar->read<std::uint32_t>(0) == 5);
  const auto busy = at.iommu.leave(at.group);
  REQUIRE(!busy);
  CHECK(busy.error().is(errc::still_in_use));
  CHECK(busy.error().subject() == "/dev/vfio/12");
  bar.reset();
  must(at.iommu.leave(at.group));
  at.group.reset();
  CHECK(tether_test::open_descriptors() == at.before);
}

TEST_CASE("views begin and end on any thread: none is lost, or the device could never be closed") {
  tether_test::iommufd_bench b;
  auto iommu = b.container();
  auto device = b.joined(iommu, b.edu);
  const auto use = [&] {
    for (int i = 0; i < 2'000; ++i) {
      auto bar = must(device.map_bar(0));
      bar.write<std::uint32_t>(8, 1);
    }
  };
  std::thread other{use};
  use();
  other.join();
  CHECK(device.views() == 0);
  must(iommu.leave(device));
  must(iommu.close(device));
}

TEST_CASE(
    "views and their device end on threads of their own while the container is asked: one of them "
    "closes the device, once") {
  tether_test::iommufd_bench b;
  const auto before = tether_test::open_descriptors();
  for (int round = 0; round < 300; ++round) {
    auto iommu = b.container();
    auto device = std::make_optional(b.joined(iommu, b.edu));
    auto neighbour = b.joined(iommu, b.nic);
    std::optional<basic_bar_view<tether_test::fake_iommufd_kernel>> one{must(device->map_bar(0))};
    std::optional<basic_bar_view<tether_test::fake_iommufd_kernel>> two{must(device->map_bar(0))};
    std::barrier together{4};
    std::thread first{[&] {
      together.arrive_and_wait();
      one.reset();
    }};
    std::thread second{[&] {
      together.arrive_and_wait();
      two.reset();
    }};
    std::thread third{[&] {
      together.arrive_and_wait();
      device.reset();
    }};
    together.arrive_and_wait();
    static_cast<void>(iommu.pins_now());
    static_cast<void>(iommu.quiesce());
    must(iommu.leave(neighbour));
    first.join();
    second.join();
    third.join();
    CHECK(b.machine.devices.at(b.edu.path()).users == 0);
    must(iommu.quiesce());
    must(iommu.close(neighbour));
    must(iommu.abandon());
  }
  CHECK(tether_test::open_descriptors() == before);
}

TEST_CASE("a BAR with a part that the driver keeps is mapped by its areas, one view for each") {
  joined at;
  auto one = at.open();
  const auto whole = one.map_bar(2);  // the kernel would answer EINVAL
  REQUIRE(!whole);
  CHECK(whole.error().is(errc::unsupported));
  CHECK(whole.error().sentence().find("map_areas()") != std::string::npos);
  {
    auto areas = must(one.map_areas(2));
    REQUIRE(areas.size() == 2);  // that of length 0 is none
    CHECK(one.views() == 2);
    CHECK(areas[0].first() == 0);
    CHECK(areas[0].size() == 8 * KiB);
    CHECK(areas[1].first() == 20 * KiB);
    CHECK(areas[1].size() == 12 * KiB);
    // Offsets are the BAR's own, in a view as in a call.
    areas[0].write<std::uint32_t>(8 * KiB - 4, 1);
    areas[1].write<std::uint32_t>(20 * KiB, 2);
    areas[1].write<std::uint32_t>(32 * KiB - 4, 3);
    CHECK(must(one.read_region<std::uint32_t>(2, 8 * KiB - 4)) == 1);
    CHECK(must(one.read_region<std::uint32_t>(2, 20 * KiB)) == 2);
    CHECK(must(one.read_region<std::uint32_t>(2, 32 * KiB - 4)) == 3);
    must(one.write_region<std::uint32_t>(2, 20 * KiB, 4));
    CHECK(areas[1].read<std::uint32_t>(20 * KiB) == 4);
    // What lies between is reached by calls.
    must(one.write_region<std::uint64_t>(2, 12 * KiB, 5));
    CHECK(must(one.read_region<std::uint64_t>(2, 12 * KiB)) == 5);
    CHECK(one.close().error().is(errc::still_in_use));
  }
  CHECK(one.views() == 0);
  const auto plain = must(one.map_areas(0));
  REQUIRE(plain.size() == 1);
  CHECK(plain[0].size() == tether_test::fake_bar_size);
  for (const std::uint32_t none : {1U, 3U, 4U}) {  // absent; one area of length 0; not mappable
    CAPTURE(none);
    CHECK(one.map_areas(none).error().is(errc::unsupported));
    CHECK(one.map_bar(none).error().is(errc::unsupported));
  }
}

TEST_CASE("areas are mapped all or none") {
  joined at;
  auto one = at.open();
  for (std::uint64_t n = 1;; ++n) {
    const injected_fault fault{n, EIO};
    const auto mapped = one.map_areas(2);
    if (!fault.fired()) {
      CHECK(mapped);
      CHECK(n == 4);  // asked once, mapped twice
      break;
    }
    REQUIRE(!mapped);
    CHECK(mapped.error().is_errno(EIO));
    CHECK(one.views() == 0);
  }
  must(one.close());
  must(at.iommu.leave(at.group));
  at.group.reset();
  CHECK(tether_test::open_descriptors() == at.before);
}

}  // namespace runtime_backend_vfio_bar_view
