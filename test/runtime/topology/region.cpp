// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/region.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <functional>
#include <utility>

namespace runtime_topology_region {

using namespace tether;
using tether_test::must;

TEST_CASE("a region of a whole block shows all of it, under its name") {
  auto block = must(ram_block::allocate("ram", 64 * KiB));
  const region whole = region::ram(block);
  CHECK(whole.kind() == region_kind::ram);
  CHECK(whole.memory() == &block.backing());
  CHECK(whole.offset() == block_offset{0});
  CHECK(whole.size() == 64 * KiB);
  CHECK(whole.name().view() == "ram");
  CHECK_FALSE(whole.is_read_only());
  CHECK_FALSE(whole.is_unmergeable());
  CHECK_FALSE(whole.has_dirty_log());
  const region part = region::rom(block, block_offset{8 * KiB}, 4 * KiB);
  CHECK(part.kind() == region_kind::rom);
  CHECK(part.offset() == block_offset{8 * KiB});
  CHECK(part.size() == 4 * KiB);
  CHECK(region::ram_device(block).kind() == region_kind::ram_device);
}

TEST_CASE("refining a region makes another one and leaves the first") {
  auto block = must(ram_block::allocate("ram", 64 * KiB));
  const region plain = region::ram(block);
  const region refined = plain.named("below 4 GiB").read_only().unmergeable().dirty_log();
  CHECK(refined.name().view() == "below 4 GiB");
  CHECK(refined.is_read_only());
  CHECK(refined.is_unmergeable());
  CHECK(refined.has_dirty_log());
  CHECK_FALSE(refined.read_only(false).is_read_only());
  CHECK_FALSE(plain.is_read_only());
  CHECK(plain.name().view() == "ram");
}

TEST_CASE("registers and IOMMU windows have no memory behind them") {
  for (region const& one : {region::mmio("uart", 8), region::iommu_window("viommu", 1 * GiB)}) {
    CHECK(one.memory() == nullptr);
    CHECK_FALSE(one.needs_memory());
  }
}

TEST_CASE("a region watches its block wherever that moves, and knows when it is gone") {
  auto block = must(ram_block::allocate("ram", 64 * KiB));
  const region whole = region::ram(block);
  auto moved = std::move(block);
  CHECK(whole.memory() == &moved.backing());
  auto other = must(ram_block::allocate("other", 64 * KiB));
  const region of_other = region::ram(other);
  other = std::move(moved);
  CHECK(of_other.memory() == nullptr);
  CHECK(whole.memory() == &other.backing());
  must(other.free());
  CHECK(whole.memory() == nullptr);
  CHECK(whole.needs_memory());
  CHECK(whole.size() == 64 * KiB);
}

TEST_CASE("a region of a window lies where the window does, and no further") {
  const auto whole = must(ram_block::allocate("ram", 64 * KiB, memory_kind::shared));
  const int descriptor = whole.backing().source_at(block_offset{0}).descriptor;
  auto window = must(ram_block::from_descriptor("window", descriptor, 16 * KiB, 8 * KiB));
  CHECK(region::ram(window).offset() == block_offset{16 * KiB});
  CHECK(region::ram(window, block_offset{4 * KiB}, 4 * KiB).offset() == block_offset{20 * KiB});
  CHECK(region::ram(window, block_offset{4 * KiB}, 4 * KiB).fits_its_block());
  CHECK_FALSE(region::ram(window, block_offset{4 * KiB}, 8 * KiB).fits_its_block());
  CHECK_FALSE(region::ram(window, block_offset{8 * KiB}, 1).fits_its_block());
  CHECK_FALSE(region::ram(window, block_offset{~std::uint64_t{0}}, 4 * KiB).fits_its_block());
  // Although the file is still there.
  const region of_window = region::ram(window);
  must(window.free());
  CHECK(of_window.memory() == nullptr);
}

TEST_CASE("a region of a block that is gone has no memory, and says that it needs some") {
  auto block = must(ram_block::allocate("ram", 64 * KiB));
  const auto moved = std::move(block);
  // NOLINT(bugprone-use-after-move): what this test is about
  const region of_nothing = region::ram(block);
  CHECK(of_nothing.memory() == nullptr);
  CHECK(of_nothing.needs_memory());
}

TEST_CASE("a region's number is a key") {
  const std::hash<region_id> of;
  CHECK(of(region_id{1}) == of(region_id{1}));
  CHECK(of(region_id{1}) != of(region_id{2}));
}

}  // namespace runtime_topology_region
