// SPDX-License-Identifier: BSL-1.0
#include <tether/listen/detail/followed_sections.hpp>

#include <tether/granule/fixed_block.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/failing_allocation.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

namespace runtime_listen_detail_followed_sections {

using namespace tether;
using detail::followed_section;
using detail::section_plan;
using tether_test::must;

namespace {

constexpr std::uint64_t unit = 256 * KiB;
constexpr page_sizes small_pages{4 * KiB};
using block = fixed_block<64 * KiB>;
using sections = detail::followed_sections<detail::section_order>;

struct divided {
  ram_block ram = must(ram_block::allocate("ram", 8 * unit));
  divided() { must(divide(ram, unit)); }
  [[nodiscard]] population& units() const { return *ram.backing().population(); }
  [[nodiscard]] section_plan plan(std::uint64_t guest, std::uint64_t offset,
                                  std::uint64_t bytes) const {
    const section what{.where = *extent<guest_address>::of(guest_address{guest}, bytes),
                       .memory = &ram.backing(),
                       .offset = block_offset{offset},
                       .name = "ram"};
    return detail::plan_section<block>(what, small_pages);
  }
};

}  // namespace

TEST_CASE("a part of a plan is where the whole has it") {
  divided memory;
  // from 128 KiB in the second unit to 128 KiB in the fourth
  const auto all = memory.plan(16 * MiB, unit + 128 * KiB, 2 * unit);
  CHECK(all.pieces == 8);
  const auto first = detail::part_of<block>(all, memory.units().extent_of(1), small_pages);
  CHECK(first.fit.inside.where == *extent<io_address>::of(io_address{16 * MiB}, 128 * KiB));
  CHECK(first.offset == block_offset{unit + 128 * KiB});
  CHECK(first.fit.inside.host == memory.ram.host() + (unit + 128 * KiB));
  CHECK(first.pieces == 2);
  const auto second = detail::part_of<block>(all, memory.units().extent_of(2), small_pages);
  CHECK(second.fit.inside.where == *extent<io_address>::of(io_address{16 * MiB + 128 * KiB}, unit));
  CHECK(second.offset == block_offset{2 * unit});
  CHECK(second.pieces == 4);
  const auto last = detail::part_of<block>(all, memory.units().extent_of(3), small_pages);
  CHECK(last.fit.inside.where ==
        *extent<io_address>::of(io_address{16 * MiB + 128 * KiB + unit}, 128 * KiB));
  CHECK(last.pieces == 2);
}

TEST_CASE("added, then present or dropped; removed, then added again by a rollback") {
  divided memory;
  sections all;
  const auto plan = memory.plan(16 * MiB, unit, 2 * unit);
  CHECK(all.empty());
  all.begin_change(false);
  followed_section* one = all.add(plan, memory.units());
  REQUIRE(one != nullptr);
  CHECK(one->first_unit == 1);
  CHECK(one->end_unit() == 3);
  CHECK(one->where == extent<block_offset>{block_offset{unit}, block_offset{3 * unit - 1}});
  CHECK_FALSE(one->is_mapped(1));
  CHECK(all.added(plan.what) == one);
  CHECK(all.find(plan.what) == nullptr);
  all.roll_back();
  CHECK(all.empty());

  all.begin_change(false);
  one = all.add(plan, memory.units());
  all.keep(std::vector<section_plan>{});
  CHECK(all.find(plan.what) == one);
  section other = plan.what;
  other.read_only = true;
  CHECK(all.find(other) == nullptr);

  all.begin_change(false);
  all.keep(std::vector<section_plan>{plan});
  CHECK(all.empty());
  // the rollback needs no memory
  all.begin_change(true);
  tether_test::failing_allocation = tether_test::allocations_can_fail ? 1 : 0;
  CHECK(all.add(plan, memory.units()) == one);
  tether_test::failing_allocation = 0;
  all.keep(std::vector<section_plan>{});
  CHECK(all.find(plan.what) == one);
}

TEST_CASE("what is unmapped stays in the budget") {
  divided memory;
  sections all;
  const auto plan = memory.plan(16 * MiB, 0, 2 * unit);
  all.note_unmapped(plan);
  CHECK(all.reserved() == 8);
  CHECK(all.discarded() == 2 * unit);
  all.note_mapped(detail::part_of<block>(plan, memory.units().extent_of(1), small_pages));
  CHECK(all.reserved() == 4);
  CHECK(all.discarded() == unit);
}

TEST_CASE("one that could not be unmapped is forgotten last") {
  divided memory;
  sections all;
  const auto stuck = memory.plan(16 * MiB, 0, unit);
  const auto also = memory.plan(32 * MiB, unit, unit);
  all.begin_change(false);
  for (auto const& plan : {stuck, also}) all.add(plan, memory.units())->enrolled = true;
  all.keep(std::vector<section_plan>{});
  all.begin_change(false);
  all.keep(std::vector<section_plan>{stuck, also});
  CHECK(all.empty());
  CHECK(all.find(stuck.what) == nullptr);
  std::uint64_t seen = 0;
  all.for_each([&](followed_section& one) { seen += one.enrolled ? 1 : 0; });
  CHECK(seen == 2);
  all.clear();
  all.for_each([&](followed_section&) { seen += 1; });
  CHECK(seen == 2);
}

}  // namespace runtime_listen_detail_followed_sections
