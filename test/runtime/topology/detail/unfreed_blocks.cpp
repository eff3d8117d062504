// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/unfreed_blocks.hpp>

#include <tether/topology/ram_block.hpp>

#include <support/must.hpp>
#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <barrier>
#include <cstddef>
#include <optional>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace runtime_topology_detail_unfreed_blocks {

using namespace tether;
using tether::detail::unfreed_blocks;
using tether_test::must;

namespace {

bool is_there(std::byte* page) {
  unsigned char in_core = 0;
  return ::mincore(page, 4096, &in_core) == 0;
}

}  // namespace

TEST_CASE("a block that a device may reach is freed by the last that lets go, not by its end") {
  std::optional<ram_block> block{must(ram_block::allocate("ram", 64 * KiB))};
  std::byte* const bytes = block->data();
  memory_backing& memory = block->backing();
  unfreed_blocks::keep(memory);
  unfreed_blocks::keep(memory);
  CHECK(block->free().error().is(errc::still_in_use));
  block.reset();
  CHECK(is_there(bytes));
  bytes[0] = std::byte{1};
  unfreed_blocks::let_go(memory);
  CHECK(is_there(bytes));
  unfreed_blocks::let_go(memory);
  CHECK_FALSE(is_there(bytes));
}

TEST_CASE("devices that let go before the block's end leave nothing for later") {
  std::optional<ram_block> block{must(ram_block::allocate("ram", 64 * KiB))};
  std::byte* const bytes = block->data();
  unfreed_blocks::keep(block->backing());
  unfreed_blocks::let_go(block->backing());
  block.reset();
  CHECK_FALSE(is_there(bytes));
}

TEST_CASE("what is left of a shared file is one memory with the blocks of it that come later") {
  ram_block file = must(ram_block::allocate("file", 128 * KiB, memory_kind::shared));
  const int descriptor = file.backing().source_at({}).descriptor;
  std::optional<ram_block> low{must(ram_block::from_descriptor("low", descriptor, 0, 64 * KiB))};
  memory_backing& memory = file.backing();
  CHECK(&low->backing() == &memory);
  unfreed_blocks::keep(memory);
  low.reset();  // another block shows it, so it is freed at once
  CHECK(memory.references() == 1);
  const int kept = ::dup(descriptor);
  std::optional<ram_block> last{std::move(file)};
  last.reset();
  auto again = must(ram_block::from_descriptor("again", kept, 0, 64 * KiB));
  CHECK(&again.backing() == &memory);
  std::byte* const bytes = again.data();
  unfreed_blocks::let_go(memory);
  CHECK(is_there(bytes));
  must(again.free());
  CHECK_FALSE(is_there(bytes));
  ::close(kept);
}

TEST_CASE("a block that a region refers to as well stops the program") {
  CHECK(tether_test::stopped_by([] {
          ram_block block = must(ram_block::allocate("ram", 64 * KiB));
          unfreed_blocks::keep(block.backing());
          block.backing().retain();
        }).find("tether[R1]") != std::string::npos);
}

TEST_CASE("a block and the last device may end at once") {
  for (int round = 0; round < 300; ++round) {
    std::optional<ram_block> block{must(ram_block::allocate("ram", 4096))};
    std::byte* const bytes = block->data();
    memory_backing& memory = block->backing();
    unfreed_blocks::keep(memory);
    std::barrier together{2};
    std::thread other{[&] {
      together.arrive_and_wait();
      unfreed_blocks::let_go(memory);
    }};
    together.arrive_and_wait();
    block.reset();
    other.join();
    REQUIRE_FALSE(is_there(bytes));
  }
}

}  // namespace runtime_topology_detail_unfreed_blocks
