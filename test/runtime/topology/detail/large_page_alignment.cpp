// SPDX-License-Identifier: BSL-1.0
// The kernel puts a mapping below the last one, at any page. What runtime/topology/ram_block.cpp
// shows where addresses are short is not repeated here.
#include <tether/topology/detail/large_page_alignment.hpp>

#include <tether/core/kernel.hpp>

#include <support/process_facts.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <sys/mman.h>

namespace runtime_topology_detail_large_page_alignment {

using namespace tether;
using alignment = detail::large_page_alignment<linux_kernel>;

namespace {

constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
constexpr std::uint64_t page = 4 * KiB;

[[nodiscard]] std::uint64_t map_at_odd_page(std::uint64_t size) {
  // a page before it, unmapped afterwards, so that it never begins on a large page
  const auto all = linux_kernel::mmap(size + 4 * MiB, PROT_READ | PROT_WRITE, flags, -1, 0);
  REQUIRE(all >= 0);
  const std::uint64_t begin = round_up(static_cast<std::uint64_t>(all), 2 * MiB) + 3 * page;
  const std::uint64_t end = static_cast<std::uint64_t>(all) + size + 4 * MiB;
  static_cast<void>(linux_kernel::munmap(static_cast<std::uint64_t>(all),
                                         begin - static_cast<std::uint64_t>(all)));
  static_cast<void>(linux_kernel::munmap(begin + size, end - begin - size));
  return begin;
}

}  // namespace

TEST_CASE("moved to a large page, with nothing left behind") {
  const std::uint64_t before = tether_test::mapped_bytes();
  const std::uint64_t size = 6 * MiB;
  const std::uint64_t at = alignment::moved(map_at_odd_page(size), size, flags);
  CHECK(at % (2 * MiB) == 0);
  CHECK(tether_test::mapped_bytes() == before + size);
  CHECK(alignment::moved(at, size, flags) == at);
  CHECK(tether_test::mapped_bytes() == before + size);
  static_cast<void>(linux_kernel::munmap(at, size));
}

TEST_CASE("memory below a large page stays where it is") {
  const std::uint64_t at = map_at_odd_page(1 * MiB);
  CHECK(alignment::moved(at, 1 * MiB, flags) == at);
  static_cast<void>(linux_kernel::munmap(at, 1 * MiB));
}

}  // namespace runtime_topology_detail_large_page_alignment
