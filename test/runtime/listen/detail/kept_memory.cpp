// SPDX-License-Identifier: BSL-1.0
#include <tether/listen/detail/kept_memory.hpp>

#include <tether/topology/ram_block.hpp>

#include <support/divided_ram.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

namespace runtime_listen_detail_kept_memory {

using namespace tether;
using namespace tether::detail;
using tether_test::divided_ram;
using tether_test::must;

TEST_CASE("memory is kept until it is released, or with the list, or for ever") {
  ram_block block = must(ram_block::allocate("ram", 64 * KiB));
  memory_backing& memory = block.backing();
  {
    kept_memory kept;
    CHECK(kept.reserve(3));
    kept.keep(memory);
    kept.keep(memory);
    CHECK(memory.references() == 2);
    kept.release();
    CHECK(memory.references() == 0);
    kept.keep(memory);
  }
  CHECK(memory.references() == 0);
  {
    kept_memory kept;
    kept.keep(memory);
    kept.keep_for_ever();
  }
  CHECK(memory.references() == 1);
  memory.release();
}

TEST_CASE("units are kept from being discarded as long as the memory is, or for ever") {
  divided_ram memory{3, 64 * KiB};
  memory_backing& block = memory.ram.backing();
  kept_memory first;
  kept_memory second;
  REQUIRE(first.reserve(1));
  REQUIRE(second.reserve(1));
  for (kept_memory* by : {&first, &second}) {
    by->keep(block);
    by->keep_unit(*block.population(), 1);
  }
  CHECK(memory.discard(0).has_value());
  CHECK_FALSE(memory.discard(1).has_value());
  first.release();
  CHECK_FALSE(memory.discard(1).has_value());  // the other one has it yet
  second.release();
  CHECK(memory.discard(1).has_value());
  first.keep_unit(*block.population(), 2);
  first.keep_for_ever();
  first.release();
  CHECK_FALSE(memory.discard(2).has_value());
}

}  // namespace runtime_listen_detail_kept_memory
