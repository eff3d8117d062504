// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/vfio/device.hpp>

#include <tether/backend/vfio_type1.hpp>

#include <support/fake_vfio_kernel.hpp>
#include <support/iommufd_bench.hpp>
#include <support/must.hpp>
#include <support/pinned_memory.hpp>

#include <doctest/doctest.h>

#include <barrier>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <thread>
#include <utility>

namespace runtime_backend_vfio_device {

using namespace tether;
using tether_test::fake_vfio_kernel;
using tether_test::must;

namespace {

using device = basic_vfio_device<fake_vfio_kernel>;

struct joined {
  joined() : before{tether_test::open_descriptors()} {
    fake_vfio_kernel::start_anew().groups["/dev/vfio/12"] = {};
    group = must(iommu.join(vfio_group{"/dev/vfio/12"}));
  }
  [[nodiscard]] device open() { return must(device::open(group->descriptor(), "0000:01:00.0")); }

  std::size_t before;
  basic_vfio_type1<fake_vfio_kernel> iommu;
  basic_vfio_type1<fake_vfio_kernel>::joined_group group;
};

}  // namespace

TEST_CASE("a device is opened by name, and one that is not there is refused with how to bind it") {
  joined at;
  CHECK(at.open().name() == "0000:01:00.0");
  const auto absent = device::open(at.group->descriptor(), "0000:09:00.0");
  REQUIRE(!absent);
  CHECK(absent.error().is(errc::no_such_device));
  CHECK(absent.error().sentence().find("driver_override") != std::string::npos);
  const injected_fault fault{1, EIO};
  CHECK(device::open(at.group->descriptor(), "0000:01:00.0").error().is_errno(EIO));
}

TEST_CASE("configuration space is read and written where it is, and never past its end") {
  joined at;
  auto one = at.open();
  CHECK(must(one.read_config<std::uint16_t>(PCI_COMMAND)) == 0);
  must(one.enable_bus_mastering());
  CHECK(must(one.read_config<std::uint16_t>(PCI_COMMAND)) ==
        (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER));
  must(one.write_config<std::uint32_t>(252, 0x1234'5678));
  CHECK(must(one.read_config<std::uint32_t>(252)) == 0x1234'5678);
  CHECK(one.read_config<std::uint32_t>(253).error().is(errc::past_the_end));
  CHECK(one.write_config<std::uint8_t>(256, 1).error().is(errc::past_the_end));
  CHECK(one.read_config<std::uint8_t>(~std::uint64_t{0}).error().is(errc::past_the_end));
  CHECK(must(one.region(VFIO_PCI_CONFIG_REGION_INDEX)).size == 256);
}

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

TEST_CASE("interrupts go to an eventfd, and off again by disabling the whole index") {
  joined at;
  auto one = at.open();
  must(one.signal_interrupts(VFIO_PCI_INTX_IRQ_INDEX, 5));
  must(one.signal_interrupts(VFIO_PCI_INTX_IRQ_INDEX, -1));
  CHECK(one.signal_interrupts(17, 5).error().is_errno(EINVAL));
  CHECK(one.reset().error().is(errc::unsupported));
}

TEST_CASE(
    "every call of a device that fails is an error, and the device can be used and closed after "
    "it") {
  joined at;
  auto one = at.open();
  const auto use = [&]() -> result<void> {
    if (auto done = one.enable_bus_mastering(); !done) return done;
    auto bar = one.map_bar(0);
    if (!bar) return failure(bar.error());
    return one.signal_interrupts(VFIO_PCI_INTX_IRQ_INDEX, -1);
  };
  std::uint64_t n = 1;
  for (; n < 100; ++n) {
    const injected_fault fault{n, EIO};
    const auto used = use();
    if (!fault.fired()) {
      CHECK(used);
      break;
    }
    CHECK(!used);
    CHECK(one.views() == 0);
  }
  CHECK(n > 6);
  CHECK(n < 100);
  must(one.close());
}

}  // namespace runtime_backend_vfio_device
