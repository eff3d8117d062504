// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/vfio/device.hpp>

#include <tether/backend/vfio_type1.hpp>

#include <support/failing_allocation.hpp>
#include <support/fake_vfio_kernel.hpp>
#include <support/joined_vfio_group.hpp>
#include <support/must.hpp>
#include <support/pinned_memory.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace runtime_backend_vfio_device {

using namespace tether;
using tether_test::fake_vfio_kernel;
using tether_test::must;
using tether_test::joined_vfio_group::fake_device;
using tether_test::joined_vfio_group::joined;

TEST_CASE("a device is opened by name, and one that is not there is refused with how to bind it") {
  joined at;
  CHECK(at.open().name() == "0000:01:00.0");
  const auto absent = fake_device::open(at.group->descriptor(), "0000:09:00.0");
  REQUIRE(!absent);
  CHECK(absent.error().is(errc::no_such_device));
  CHECK(absent.error().sentence().find("driver_override") != std::string::npos);
  const injected_fault fault{1, EIO};
  CHECK(fake_device::open(at.group->descriptor(), "0000:01:00.0").error().is_errno(EIO));
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

TEST_CASE(
    "a region is read and written by calls where it is, mappable or not, and never past its end") {
  joined at;
  auto one = at.open();
  auto bar = must(one.map_bar(0));
  must(one.write_region<std::uint32_t>(0, 8, 0xcafe'f00d));
  CHECK(bar.read<std::uint32_t>(8) == 0xcafe'f00d);
  constexpr std::uint64_t end = tether_test::fake_bar_size;
  bar.write<std::uint16_t>(end - 2, 0x1234);
  CHECK(must(one.read_region<std::uint16_t>(0, end - 2)) == 0x1234);
  CHECK(one.read_region<std::uint32_t>(0, end - 2).error().is(errc::past_the_end));
  must(one.write_region<std::uint64_t>(4, 16, 99));
  CHECK(must(one.read_region<std::uint64_t>(4, 16)) == 99);
  CHECK(one.write_region<std::uint8_t>(1, 0, 1).error().is(errc::past_the_end));  // not there
  CHECK(one.read_region<std::uint8_t>(17, 0).error().is_errno(EINVAL));
}

TEST_CASE("interrupts go to an eventfd, and off again by disabling the whole index") {
  joined at;
  auto one = at.open();
  auto& set = tether_test::fake_eventfds();
  must(one.signal_interrupts(VFIO_PCI_INTX_IRQ_INDEX, 5));
  CHECK(set[VFIO_PCI_INTX_IRQ_INDEX] == std::vector<std::int32_t>{5});
  must(one.signal_interrupts(VFIO_PCI_INTX_IRQ_INDEX, -1));
  CHECK(set[VFIO_PCI_INTX_IRQ_INDEX].empty());
  CHECK(one.signal_interrupts(17, 5).error().is_errno(EINVAL));
}

TEST_CASE(
    "each vector signals an eventfd of its own, from any vector on, and the others keep theirs") {
  joined at;
  auto one = at.open();
  auto& now = tether_test::fake_eventfds()[VFIO_PCI_MSI_IRQ_INDEX];
  using numbers = std::vector<std::int32_t>;
  must(one.signal_interrupts(VFIO_PCI_MSI_IRQ_INDEX, 0, numbers{10, 11, 12}));
  CHECK(now == numbers{10, 11, 12});
  must(one.signal_interrupts(VFIO_PCI_MSI_IRQ_INDEX, 1, numbers{-1}));
  CHECK(now == numbers{10, -1, 12});
  must(one.signal_interrupts(VFIO_PCI_MSI_IRQ_INDEX, 2, numbers{20, 21}));
  CHECK(now == numbers{10, -1, 20, 21});
  must(one.signal_interrupts(VFIO_PCI_MSI_IRQ_INDEX, 4, numbers{}));
  const auto too_many = one.signal_interrupts(VFIO_PCI_MSI_IRQ_INDEX, 3, numbers{1, 2});
  REQUIRE(!too_many);
  CHECK(too_many.error().sentence() ==
        "set interrupts of '0000:01:00.0': this is not supported here; it has 4 interrupts of that "
        "kind");
  CHECK(one.signal_interrupts(VFIO_PCI_MSI_IRQ_INDEX, ~0U, numbers{1, 2})
            .error()
            .is(errc::unsupported));
  CHECK(now == numbers{10, -1, 20, 21});
  must(one.signal_interrupts(VFIO_PCI_MSI_IRQ_INDEX, -1));
  CHECK(now.empty());
}

TEST_CASE("how many interrupts there are is told, and where none can be added, what to do") {
  joined at;
  auto one = at.open();
  CHECK(
      must(one.interrupts(VFIO_PCI_INTX_IRQ_INDEX)) ==
      vfio_interrupts{.vectors = 1, .eventfds = true, .maskable = true, .masked_when_sent = true});
  CHECK(must(one.interrupts(VFIO_PCI_MSIX_IRQ_INDEX)) ==
        vfio_interrupts{.vectors = 8, .eventfds = true, .fixed_once_set = true});
  CHECK(one.interrupts(17).error().is_errno(EINVAL));
  const std::vector<std::int32_t> two{5, 6};
  must(one.signal_interrupts(VFIO_PCI_MSIX_IRQ_INDEX, 0, two));
  const auto more = one.signal_interrupts(VFIO_PCI_MSIX_IRQ_INDEX, 1, two);
  REQUIRE(!more);
  CHECK(more.error().is(errc::still_in_use));
  CHECK(more.error().subject() == "0000:01:00.0");
  must(one.signal_interrupts(VFIO_PCI_MSIX_IRQ_INDEX, -1));
}

TEST_CASE("without memory for the request no interrupt is set") {
  if (!tether_test::allocations_can_fail) return tether_test::cannot_fail_allocations();
  joined at;
  auto one = at.open();
  const std::vector<std::int32_t> two{5, 6};
  tether_test::failing_allocation = 1;
  CHECK(one.signal_interrupts(VFIO_PCI_MSIX_IRQ_INDEX, 0, two).error().is_errno(ENOMEM));
  tether_test::failing_allocation = 0;
}

TEST_CASE("a device without a reset of its own is told by what it says, not by how it refuses") {
  joined at;
  auto one = at.open();
  auto& machine = tether_test::fake_vfio_kernel::machine();
  const auto none = one.reset();
  REQUIRE(!none);
  CHECK(none.error().is(errc::unsupported));
  CHECK(none.error().sentence().find("it has no reset of its own") != std::string::npos);
  CHECK(none.error().sentence().find("tether does not") == std::string::npos);
  machine.refusals = {{VFIO_DEVICE_RESET, EIO}, {VFIO_DEVICE_GET_INFO, EIO}};
  CHECK(one.reset().error().is_errno(EIO));
  machine.refusals = {};
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
