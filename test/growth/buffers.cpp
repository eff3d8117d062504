// SPDX-License-Identifier: BSL-1.0
// A program's own memory: N runs of I/O addresses taken and given back in any order, N buffers
// mapped, translated and unmapped.
#include <growth/growth.hpp>
#include <growth/world.hpp>

#include <tether/backend/direct_lookup.hpp>
#include <tether/backend/mapped_buffers.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/core/iova_allocator.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <span>
#include <vector>

namespace growth_buffers {

using namespace tether;
using namespace tether_test::growth;
using tether_test::must;

namespace {

/// N ranges, each of `pages`, that do not meet.
std::vector<extent<io_address>> ranges(std::uint64_t n, std::uint64_t pages) {
  std::vector<extent<io_address>> all(n);
  for (std::uint64_t i = 0; i != n; ++i) {
    const io_address first{(i * 2 + 1) * pages * page};
    all[i] = {first, first + (pages * page - 1)};
  }
  return all;
}

/// Takes 2 N pages, gives every other one back, so that N pieces are free, and takes those again.
void in_pieces(std::uint64_t n, meter& all) {
  auto addresses = must(iova_allocator::over(ranges(1, 4 * n), page));
  std::vector<extent<io_address>> taken(2 * n);
  all.count([&] {
    for (auto& one : taken) one = must(addresses.allocate(page));
    for (const auto i : shuffled(n)) must(addresses.release(taken[2 * i]));
    for (std::uint64_t i = 0; i != n; ++i) taken[2 * i] = must(addresses.allocate(page));
    for (const auto i : shuffled(2 * n)) must(addresses.release(taken[i]));
    CHECK(addresses.largest_free() == 4 * n * page);
  });
}
/// One of two pages where N pieces of one are free before the room for it, and one too large.
void behind_pieces(std::uint64_t n, meter& all) {
  auto addresses = must(iova_allocator::over(ranges(1, 4 * n), page));
  for (std::uint64_t i = 0; i != n; ++i)
    must(addresses.claim(
        {io_address{(4 * n + 2 * i) * page}, io_address{(4 * n + 2 * i + 1) * page - 1}}));
  // The list of runs grows by doubling, now and then; not while it is counted.
  must(addresses.release(must(addresses.allocate(2 * page, 16 * page))));
  all.count([&] {
    const auto one = must(addresses.allocate(2 * page));
    const auto aligned = must(addresses.allocate(2 * page, 16 * page));
    CHECK(!addresses.allocate(4 * n * page));
    must(addresses.release(one));
    must(addresses.release(aligned));
  });
}

template <class Lookup = sorted_lookup>
struct mapped {
  explicit mapped(std::uint64_t n) : ram{memory_of(n)} {}
  [[nodiscard]] std::span<std::byte> nth(std::uint64_t i) const {
    return {ram.data() + i * page, page};
  }
  software_iommu iommu{};
  ram_block ram;
  using buffers = mapped_buffers<software_iommu, Lookup>;
  buffers all = must(buffers::over(iommu));
};

/// Maps and unmaps N buffers in any order.
template <class Lookup>
void each_of(std::uint64_t n, meter& all) {
  mapped<Lookup> machine{n};
  // What a lookup keeps for the place is there: the counts are of the buffers.
  CHECK(machine.all.map({machine.ram.data(), n * page}));
  must(machine.all.unmap(machine.ram.data()));
  all.count([&] {
    for (const auto i : shuffled(n)) CHECK(machine.all.map(machine.nth(i)));
    for (const auto i : shuffled(n)) must(machine.all.unmap(machine.nth(i).data()));
  });
}
/// One more beside N buffers.
template <class Lookup>
void one_of(std::uint64_t n, meter& all) {
  mapped<Lookup> machine{n + 1};
  for (std::uint64_t i = 0; i != n; ++i) CHECK(must(machine.all.map(machine.nth(i))).value != 0);
  all.count([&] {
    CHECK(must(machine.all.translate(machine.nth(n / 2).data() + 7, 9)).value % page == 7);
    must(machine.all.map_at(io_address{64 * GiB}, machine.nth(n)));
    must(machine.all.unmap(machine.nth(n).data()));
  });
}

const row rows[]{
    {"take N runs of I/O addresses and give them back, in pieces and in any order",
     "iova_allocator::allocate iova_allocator::release iova_allocator::largest_free", promise::each,
     in_pieces, 512},
    {"one run of I/O addresses behind N that are too small", "iova_allocator::allocate",
     promise::same, behind_pieces, 512},
    {"claim N runs of I/O addresses, of N ranges, and change the limits",
     "iova_allocator::over iova_allocator::claim iova_allocator::change_limits", promise::each,
     [](std::uint64_t n, meter& all) {
       const auto usable = ranges(n, 4);
       all.count([&] {
         auto addresses = must(iova_allocator::over(usable, page));
         for (const auto i : shuffled(n)) must(addresses.claim(usable[i]));
         must(addresses.change_limits(usable, page));
       });
     },
     512},
    {"map and unmap N buffers, in any order",
     "mapped_buffers::map mapped_buffers::unmap sorted_lookup::insert sorted_lookup::erase",
     promise::each, each_of<sorted_lookup>, 512},
    {"one of N buffers",
     "mapped_buffers::map_at mapped_buffers::translate sorted_lookup::first_in sorted_lookup::find",
     promise::same, one_of<sorted_lookup>, 512},
    {"map and unmap N buffers of a block each, in any order",
     "direct_lookup::insert direct_lookup::erase direct_lookup::first_in", promise::each,
     each_of<direct_lookup<page>>, 512},
    {"one of N buffers, in a table of blocks", "direct_lookup::find", promise::same,
     one_of<direct_lookup<page>>, 512},
    {"N buffers for a device, with limits that change",
     "mapped_buffers::over mapped_buffers::follow_limits", promise::each,
     [](std::uint64_t n, meter& all) {
       mapped<> machine{n};
       for (std::uint64_t i = 0; i != n; ++i)
         CHECK(must(machine.all.map(machine.nth(i))).value != 0);
       all.count([&] {
         must(machine.all.follow_limits());
         const auto other = must(mapped_buffers<software_iommu>::over(machine.iommu));
       });
     },
     512},
};

}  // namespace

TEST_CASE("a program's own buffers cost as promised") { judge_all(rows); }

}  // namespace growth_buffers
