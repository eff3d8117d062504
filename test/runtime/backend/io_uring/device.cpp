// SPDX-License-Identifier: BSL-1.0
// Where the library's reason to be can be seen: the kernel's pins, against the process's page
// tables.
#include <tether/backend/io_uring/device.hpp>

#include <tether/backend/io_uring_buffers.hpp>

#include <support/faulty_kernel.hpp>
#include <support/pinned_memory.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace runtime_backend_io_uring_device {

using namespace tether;
using tether_test::host_memory;
using tether_test::pinned_by_the_kernel;

namespace {

endpoint_group passthrough() { return {"passthrough", {{"nic", pin_class::pins}}}; }
endpoint_group mediated() { return {"mediated", {{"vgpu", pin_class::pins_on_demand}}}; }
std::array<std::byte, 64> pattern(unsigned char with) {
  std::array<std::byte, 64> bytes{};
  bytes.fill(std::byte{with});
  return bytes;
}

}  // namespace

TEST_CASE("without tether a discard under a pin is stale, and mapping again heals it") {
  auto opened = io_uring_buffers::open({.slots = 4});
  if (!opened) return tether_test::skip_because(opened.error().sentence());
  auto& iommu = *opened;
  auto group = iommu.join(passthrough()).value();
  auto device = iommu.open(group, "nic").value();
  const auto page = tether_test::host_page();
  const host_memory memory{page};
  memory.bytes()[0] = std::byte{1};
  REQUIRE(iommu.map(memory.at(0, 0, page)));
  memory.discard(0, page);
  memory.bytes()[100] = std::byte{0xaa};  // the CPU touches it: another page from here on
  REQUIRE(device.dma_write(io_address{0}, pattern(0x5a)));
  CHECK(memory.bytes()[0] == std::byte{0});
  std::array<std::byte, 64> seen{};
  REQUIRE(device.dma_read(io_address{64}, seen));
  CHECK(seen[36] == std::byte{0});  // and the device does not see what the CPU wrote
  REQUIRE(iommu.unmap({io_address{0}, io_address{page - 1}}));
  REQUIRE(iommu.map(memory.at(0, 0, page)));
  REQUIRE(device.dma_write(io_address{0}, pattern(0x5a)));
  CHECK(memory.bytes()[0] == std::byte{0x5a});
  CHECK(memory.bytes()[100] == std::byte{0xaa});
}

TEST_CASE(
    "a mediated device pins nothing between requests, so a discard between them is harmless") {
  auto opened = io_uring_buffers::open({.slots = 4});
  if (!opened) return tether_test::skip_because(opened.error().sentence());
  auto& iommu = *opened;
  auto group = iommu.join(mediated()).value();
  auto device = iommu.open(group, "vgpu").value();
  const auto page = tether_test::host_page();
  const host_memory memory{4 * page};
  const auto before = pinned_by_the_kernel();
  REQUIRE(iommu.map(memory.at(0, 0, 4 * page)));
  CHECK(pinned_by_the_kernel() == before);
  REQUIRE(device.dma_write(io_address{page - 32}, pattern(0x11)));
  CHECK(pinned_by_the_kernel() == before);
  CHECK(iommu.pinned_bytes() == 0);
  CHECK(memory.bytes()[page + 31] == std::byte{0x11});
  memory.discard(0, 4 * page);
  CHECK(memory.bytes()[page] == std::byte{0});
  REQUIRE(device.dma_write(io_address{page - 32}, pattern(0x22)));
  CHECK(memory.bytes()[page - 32] == std::byte{0x22});
  CHECK(memory.bytes()[page + 31] == std::byte{0x22});
}

TEST_CASE("a mediated device has a slot of its own even when every other is taken") {
  auto opened = io_uring_buffers::open({.slots = 2});
  if (!opened) return tether_test::skip_because(opened.error().sentence());
  auto& iommu = *opened;
  auto pinning = iommu.join(passthrough()).value();
  auto group = iommu.join(mediated()).value();
  auto device = iommu.open(group, "vgpu").value();
  const auto page = tether_test::host_page();
  const host_memory memory{page};
  REQUIRE(iommu.map(memory.at(0, 0, page)));
  REQUIRE(iommu.free_mappings() == 0);
  REQUIRE(device.dma_write(io_address{0}, pattern(0x33)));
  CHECK(memory.bytes()[0] == std::byte{0x33});
  CHECK(iommu.pinned_bytes() == page);
  CHECK(iommu.leave(pinning));
}

TEST_CASE("an access larger than the ring's scratch file is carried whole") {
  auto opened = io_uring_buffers::open({.slots = 4});
  if (!opened) return tether_test::skip_because(opened.error().sentence());
  auto& iommu = *opened;
  auto group = iommu.join(passthrough()).value();
  auto other = iommu.join(mediated()).value();
  auto nic = iommu.open(group, "nic").value();
  auto vgpu = iommu.open(other, "vgpu").value();
  const std::uint64_t size = 5 * detail::io_uring_ring<>::scratch_size / 2;
  const host_memory memory{4 * detail::io_uring_ring<>::scratch_size};
  REQUIRE(iommu.map(memory.at(0, 0, memory.size())));
  std::vector<std::byte> sent(size);
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<std::byte>(i * 31 + i / 4096);
  REQUIRE(nic.dma_write(io_address{13}, sent));
  CHECK(std::ranges::equal(memory.bytes().subspan(13, size), sent));
  std::vector<std::byte> seen(size);
  REQUIRE(vgpu.dma_read(io_address{13}, seen));
  CHECK(seen == sent);
}

TEST_CASE(
    "when an io_uring unmap has returned no device writes there any more, however busy it is") {
  auto opened = io_uring_buffers::open({.slots = 8});
  if (!opened) return tether_test::skip_because(opened.error().sentence());
  auto& iommu = *opened;
  auto group = iommu.join(passthrough()).value();
  auto other = iommu.join(mediated()).value();
  auto nic = iommu.open(group, "nic").value();
  auto vgpu = iommu.open(other, "vgpu").value();
  const auto page = tether_test::host_page();
  const host_memory memory{page};
  const auto before = pinned_by_the_kernel();
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> reached{0};
  const auto keep_writing = [&](io_uring_device& device) {
    while (!stop) reached += device.dma_write(io_address{0}, pattern(0x66)) ? 1U : 0U;
  };
  std::thread first{[&] { keep_writing(nic); }};
  std::thread second{[&] { keep_writing(vgpu); }};
  std::uint64_t stale = 0;
  std::uint64_t still_pinned = 0;
  for (int round = 0; round < 40; ++round) {
    REQUIRE(iommu.map(memory.at(0, 0, page)));
    for (const auto seen = reached.load(); reached == seen;) std::this_thread::yield();
    REQUIRE(iommu.unmap({io_address{0}, io_address{page - 1}}));
    still_pinned += pinned_by_the_kernel() == before ? 0U : 1U;
    memory.discard(0, page);
    for (const std::byte byte : memory.bytes()) stale += byte == std::byte{0} ? 0U : 1U;
  }
  stop = true;
  first.join();
  second.join();
  CHECK(stale == 0);
  CHECK(still_pinned == 0);
}

TEST_CASE("an io_uring device may be asked for its name while another thread closes it") {
  auto opened = io_uring_buffers::open({.slots = 8});
  if (!opened) return tether_test::skip_because(opened.error().sentence());
  auto& iommu = *opened;
  auto group = iommu.join(passthrough()).value();
  auto nic = iommu.open(group, "nic").value();
  std::atomic<bool> asked{false};
  std::thread asks{[&] {
    while (!nic.name().empty()) asked = true;
  }};
  while (!asked) std::this_thread::yield();
  REQUIRE(iommu.close(nic));
  asks.join();
  CHECK(nic.name().empty());
}

TEST_CASE("a mediated request that fails at any call leaves no pin once the next has begun") {
  auto opened = basic_io_uring_buffers<faulty_kernel>::open({.slots = 4});
  if (!opened) return tether_test::skip_because(opened.error().sentence());
  auto& iommu = *opened;
  auto group = iommu.join(mediated()).value();
  auto device = iommu.open(group, "vgpu").value();
  const auto page = tether_test::host_page();
  const host_memory memory{page};
  const auto before = pinned_by_the_kernel();
  REQUIRE(iommu.map(memory.at(0, 0, page)));
  std::uint64_t failures = 0;
  for (std::uint64_t n = 1;; ++n) {
    bool fired = false;
    {
      const injected_fault fault{n, EIO};
      const auto written = device.dma_write(io_address{0}, pattern(0x44));
      fired = fault.fired();
      CHECK(written.has_value() == !fired);
    }
    CHECK(pinned_by_the_kernel() - before == iommu.pinned_bytes());
    CHECK(iommu.quiesce());
    CHECK(pinned_by_the_kernel() == before);
    CHECK(iommu.pinned_bytes() == 0);
    if (!fired) break;
    ++failures;
  }
  CHECK(failures >= 3);  // the pin, the request, the letting go
  CHECK(device.dma_write(io_address{0}, pattern(0x55)));
  CHECK(memory.bytes()[0] == std::byte{0x55});
}

}  // namespace runtime_backend_io_uring_device
