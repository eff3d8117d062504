// SPDX-License-Identifier: BSL-1.0
#include <tether/listen/detail/kept_memory.hpp>

#include <tether/topology/ram_block.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

namespace runtime_listen_detail_kept_memory {

using namespace tether;
using namespace tether::detail;
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

}  // namespace runtime_listen_detail_kept_memory
