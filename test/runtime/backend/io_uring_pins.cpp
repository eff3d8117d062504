// SPDX-License-Identifier: BSL-1.0
// The books behind `io_uring_buffers`: options, and mappings that take several slots.
#include <tether/backend/io_uring_pins.hpp>

#include <tether/backend/io_uring_buffers.hpp>

#include <support/pinned_memory.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

using namespace tether;
using tether_test::host_memory;
using tether_test::pinned_by_the_kernel;

TEST_CASE("io_uring options that no kernel takes are refused before one is asked") {
  const auto page = tether_test::host_page();
  for (io_uring_options const& wrong :
       {io_uring_options{.slots = 0}, io_uring_options{.slots = 1}, io_uring_options{.slots = io_uring_most_slots + 1},
        io_uring_options{.bytes_per_slot = 0}, io_uring_options{.bytes_per_slot = page / 2}, io_uring_options{.bytes_per_slot = 2 * GiB}}) {
    const auto opened = io_uring_buffers::open(wrong);
    REQUIRE(!opened);
    CHECK(opened.error().code() == std::make_error_code(std::errc::invalid_argument));
  }
}

TEST_CASE("a mapping larger than a slot takes several, which count, pin and carry DMA as one") {
  const auto page = tether_test::host_page();
  auto opened = io_uring_buffers::open({.slots = 9, .bytes_per_slot = 2 * page});
  if (!opened) return tether_test::skip_because(opened.error().sentence());
  auto& iommu = *opened;
  auto group = iommu.join(endpoint_group{"g", {{"nic", pin_class::pins}}}).value();
  auto device = iommu.open(group, "nic").value();
  const host_memory memory{16 * page};
  const auto before = pinned_by_the_kernel();
  REQUIRE(iommu.free_mappings() == 8);
  REQUIRE(iommu.map(memory.at(0, 0, page)));
  REQUIRE(iommu.map(memory.at(page, page, 7 * page)));  // 2 + 2 + 2 + 1 pages
  CHECK(iommu.free_mappings() == 3);
  CHECK(iommu.pinned_bytes() == 8 * page);
  CHECK(pinned_by_the_kernel() - before == 8 * page);
  CHECK(iommu.map(memory.at(8 * page, 8 * page, 7 * page)).error().is(errc::over_budget));
  std::vector<std::byte> sent(8 * page);
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<std::byte>(i / 16 + i);
  REQUIRE(device.dma_write(io_address{0}, sent));
  CHECK(std::ranges::equal(memory.bytes().first(8 * page), sent));
  std::vector<std::byte> seen(3 * page);
  REQUIRE(device.dma_read(io_address{2 * page + 7}, seen));
  CHECK(std::ranges::equal(memory.bytes().subspan(2 * page + 7, 3 * page), seen));
  REQUIRE(iommu.unmap({io_address{page}, io_address{8 * page - 1}}));
  CHECK(iommu.free_mappings() == 7);
  CHECK(pinned_by_the_kernel() - before == page);
}
