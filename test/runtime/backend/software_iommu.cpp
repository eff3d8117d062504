// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/software_iommu.hpp>

#include <support/pinned_memory.hpp>

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace runtime_backend_software_iommu {

using namespace tether;

TEST_CASE("a software IOMMU looks like an ordinary PC's unless told otherwise") {
  const software_iommu iommu;
  CHECK(iommu.page_sizes().smallest() == 4 * KiB);
  CHECK(iommu.page_sizes().largest() == GiB);
  CHECK(iommu.free_mappings() == 65535);
  REQUIRE(iommu.usable_iova().size() == 2);
  CHECK(iommu.usable_iova()[0].last.value == 0xfedf'ffff);
  CHECK(iommu.usable_iova()[1].first.value == 0xfef0'0000);
}

TEST_CASE("a software IOMMU with larger pages refuses what only smaller ones could map") {
  software_iommu iommu{
      {.page_sizes = {64 * KiB | 2 * MiB}, .usable = {extent<io_address>::everything()}}};
  CHECK(iommu.map({{io_address{0}, io_address{4 * KiB - 1}}, host_address{0}})
            .error()
            .is(errc::not_aligned));
  CHECK(iommu.map({{io_address{0}, io_address{64 * KiB - 1}}, host_address{4 * KiB}})
            .error()
            .is(errc::not_aligned));
  CHECK(iommu.map({{io_address{0}, io_address{64 * KiB - 1}}, host_address{0}}));
}

TEST_CASE("when an unmap has returned no device writes there any more, however busy it is") {
  const auto page = tether_test::host_page();
  tether_test::host_memory memory{2 * page};
  software_iommu iommu{{.page_sizes = {page}}};
  auto group = iommu.join(endpoint_group{"g", {{"nic", pin_class::pins}}}).value();
  auto device = iommu.open(group, "nic").value();
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> reached{0};
  std::atomic<std::uint64_t> refused{0};
  std::thread busy{[&] {
    std::vector<std::byte> bytes(2 * page, std::byte{0x5a});
    while (!stop) (device.dma_write(io_address{0}, bytes) ? reached : refused)++;
  }};
  std::uint64_t stale = 0;
  for (int round = 0; round < 300; ++round) {
    REQUIRE(iommu.map(memory.at(0, 0, page)));
    REQUIRE(iommu.map(memory.at(page, page, page)));
    // Every other round waits until the device has really been there.
    for (const auto before = reached.load(); round % 2 == 0 && reached == before;)
      std::this_thread::yield();
    REQUIRE(iommu.unmap({io_address{page}, io_address{2 * page - 1}}));
    // Plain accesses: one that meets the device's is a finding of TSan's as well.
    for (std::byte& byte : memory.bytes()) byte = std::byte{0};
    for (const std::byte byte : memory.bytes()) stale += byte == std::byte{0} ? 0U : 1U;
    REQUIRE(iommu.unmap({io_address{0}, io_address{page - 1}}));
  }
  stop = true;
  busy.join();
  CHECK(stale == 0);
  CHECK(reached > 0);
}

TEST_CASE("a device that another thread closes moves nothing more") {
  const auto page = tether_test::host_page();
  tether_test::host_memory memory{page};
  software_iommu iommu{{.page_sizes = {page}}};
  REQUIRE(iommu.map(memory.at(0, 0, page)));
  auto group = iommu.join(endpoint_group{"g", {{"nic", pin_class::pins}}}).value();
  auto device = iommu.open(group, "nic").value();
  std::atomic<bool> reached{false};
  std::thread busy{[&] {
    std::array<std::byte, 64> bytes{};
    bytes.fill(std::byte{1});
    while (device.dma_write(io_address{0}, bytes)) reached = true;
    // It may be asked for its name meanwhile, too: no thread tells the other that it has closed.
    while (!device.name().empty()) std::this_thread::yield();
  }};
  std::thread asks{[&] {
    while (!device.name().empty()) std::this_thread::yield();
  }};
  while (!reached) std::this_thread::yield();
  REQUIRE(iommu.close(device));
  asks.join();
  for (std::byte& byte : memory.bytes()) byte = std::byte{0};
  busy.join();
  for (const std::byte byte : memory.bytes()) REQUIRE(byte == std::byte{0});
  CHECK(iommu.leave(group));
}

}  // namespace runtime_backend_software_iommu
