// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/file_registry.hpp>

#include <tether/topology/ram_block.hpp>

#include <support/faulty_kernel.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <mutex>

namespace runtime_topology_detail_file_registry {

using namespace tether;
using namespace tether::detail;
using tether_test::must;

namespace {

/// A kernel type that nothing else uses, so that its registry is this test's alone.
struct own_kernel : linux_kernel {};

memory_backing* newest() {
  file_registry& all = registry_of<own_kernel>.value;
  const std::lock_guard reading{all.changing};
  return all.newest;
}

}  // namespace

TEST_CASE(
    "the newest shared file is first in its kernel's registry, until its last block is gone") {
  CHECK(newest() == nullptr);
  auto first = must(ram_block::allocate<own_kernel>("first", 64 * KiB, memory_kind::shared));
  CHECK(newest() == &first.backing());
  {
    const auto second =
        must(ram_block::allocate<own_kernel>("second", 64 * KiB, memory_kind::shared));
    CHECK(newest() == &second.backing());
    const auto other = must(ram_block::allocate("other", 64 * KiB, memory_kind::shared));
    CHECK(newest() == &second.backing());
    CHECK(registry_of<linux_kernel>.value.newest == &other.backing());
  }
  CHECK(newest() == &first.backing());
  must(first.free());
  CHECK(newest() == nullptr);
}

}  // namespace runtime_topology_detail_file_registry
