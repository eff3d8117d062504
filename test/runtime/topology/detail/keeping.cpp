// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/keeping.hpp>

#include <tether/topology/detail/unfreed_blocks.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <optional>

namespace runtime_topology_detail_keeping {

using namespace tether;
using tether::detail::keeping;
using tether::detail::unfreed_blocks;

TEST_CASE("memory of destroyed blocks is listed until nothing reaches it") {
  REQUIRE(keeping::newest == nullptr);
  std::optional<ram_block> one{tether_test::must(ram_block::allocate("one", 4096))};
  std::optional<ram_block> two{tether_test::must(ram_block::allocate("two", 4096))};
  memory_backing& first = one->backing();
  memory_backing& second = two->backing();
  unfreed_blocks::keep(first);
  unfreed_blocks::keep(second);
  one.reset();
  two.reset();
  REQUIRE(keeping::newest != nullptr);
  CHECK(keeping::newest->self.get() == &second);
  REQUIRE(keeping::newest->older() != nullptr);
  CHECK(keeping::newest->older()->self.get() == &first);
  unfreed_blocks::let_go(first);
  CHECK(keeping::newest->self.get() == &second);
  CHECK(keeping::newest->older() == nullptr);
  unfreed_blocks::let_go(second);
  CHECK(keeping::newest == nullptr);
}

}  // namespace runtime_topology_detail_keeping
