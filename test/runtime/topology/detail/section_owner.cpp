// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/section_owner.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <memory>

namespace runtime_topology_detail_section_owner {

using namespace tether;
using namespace tether::detail;

TEST_CASE("the owner of a section keeps its memory from being freed, and says as what it is shown") {
  auto block = tether_test::must(ram_block::allocate("ram", 64 * KiB));
  detail::section_owner_pointer one =
      std::make_shared<detail::section_owner const>(label{"placed"}, &block.backing());
  detail::section_owner_pointer same = one;
  CHECK(block.backing().references() == 1);
  one.reset();
  CHECK(block.free().error().is(errc::still_in_use));
  CHECK(block.free().error().blocker() == "placed");
  CHECK(same->name().view() == "placed");
  same.reset();
  CHECK(block.backing().references() == 0);
  CHECK(block.backing().referrers().newest().view() == "");
  const detail::section_owner without_memory{label{"mmio"}, nullptr};
  CHECK(without_memory.memory() == nullptr);
}

}  // namespace runtime_topology_detail_section_owner
