// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/memory_window.hpp>
#include <tether/topology/ram_block.hpp>
#include <tether/topology/region.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <optional>
#include <utility>

namespace runtime_topology_detail_memory_window {

using namespace tether;
using namespace tether::detail;
using tether_test::must;

TEST_CASE("a reference keeps memory from being freed until it ends, and passes on what it keeps") {
  auto block = must(ram_block::allocate("ram", 64 * KiB));
  const region whole = region::ram(block);
  {
    auto kept = whole.reference();
    CHECK(kept.get() == &block.backing());
    CHECK(block.backing().references() == 1);
    const auto passed_on = std::move(kept);
    CHECK(kept.get() == nullptr);  // NOLINT(bugprone-use-after-move): what this test is about
    CHECK(block.backing().references() == 1);
    CHECK(block.free().error().is(errc::still_in_use));
  }
  must(block.free());
  CHECK(whole.reference().get() == nullptr);
  CHECK(detail::memory_reference{}.get() == nullptr);
}

}  // namespace runtime_topology_detail_memory_window
