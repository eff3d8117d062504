// SPDX-License-Identifier: BSL-1.0
// A VMM's own memory model, right and wrong, feeds a listener; after each change what it has mapped
// is what a slow reader says. The fuzz target dma_listener searches on.
#include <support/fed_by_hand.hpp>

#include <support/failing_allocation.hpp>
#include <support/must.hpp>

#include <tether/granule/fixed_block.hpp>
#include <tether/granule/whole_section.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace scenario_fed_by_hand {

namespace {

void complain(std::string const& what) { throw std::logic_error{what}; }

template <class Granularity, std::uint64_t Block>
void random_programs(std::uint32_t seed) {
  std::mt19937 random{seed};
  typename tether_test::fed_by_hand<Granularity, Block>::totals all;
  for (int i = 0; i != 400; ++i) {
    CAPTURE(i);
    std::vector<std::uint8_t> bytes(400);
    for (auto& one : bytes) one = static_cast<std::uint8_t>(random());
    tether_fuzz::input in{bytes.data(), bytes.size()};
    tether_test::fed_by_hand<Granularity, Block> vmm{in, complain};
    REQUIRE_NOTHROW(vmm.run());
    auto const& counted = vmm.counted();
    all.changes += counted.changes;
    all.wrong += counted.wrong;
    all.refused += counted.refused;
    all.compulsory_wrong += counted.compulsory_wrong;
    all.left_out += counted.left_out;
    all.diverged += counted.diverged;
    all.struck += counted.struck;
    all.put_back += counted.put_back;
  }
  // Each thing that can come of a change came of many.
  INFO(all.changes, " changes, ", all.wrong, " wrong, ", all.refused, " refused, ",
       all.compulsory_wrong, " compulsory and wrong, ", all.left_out, " left out, ", all.diverged,
       " diverged, ", all.struck, " struck, ", all.put_back, " put back");
  CHECK(all.changes > 4000);
  CHECK(all.wrong > all.changes / 10);
  CHECK(all.changes - all.wrong > all.changes / 10);
  CHECK(all.refused > 1000);
  CHECK(all.compulsory_wrong > 100);
  CHECK(all.left_out > 100);
  CHECK(all.diverged > 50);
  CHECK(all.struck > 200);
  CHECK(all.put_back > 200);
}

}  // namespace

TEST_CASE(
    "what a VMM's own memory model tells is judged, and the counts are right after every change: "
    "whole sections") {
  random_programs<tether::whole_section, 0>(17);
}
TEST_CASE(
    "what a VMM's own memory model tells is judged, and the counts are right after every change: "
    "blocks") {
  random_programs<tether::fixed_block<8 * tether::KiB>, 8 * tether::KiB>(18);
}

TEST_CASE(
    "out of memory at each allocation of a change in turn: it is refused and nothing stands of it, "
    "and a removal needs none") {
  using namespace tether;
  if (!tether_test::allocations_can_fail) return tether_test::cannot_fail_allocations();
  for (std::uint64_t n = 1, more = 1; more != 0; ++n) {
    CAPTURE(n);
    ram_block block = tether_test::must(ram_block::allocate("ram", 64 * KiB));
    software_iommu iommu;
    std::mutex mutex;
    dma_listener<software_iommu, whole_section, trim_edges, no_observation, std::mutex> listener{
        iommu, mutex};
    const auto at = [&](std::uint64_t page) {
      return section{.where = {guest_address{page * 4096}, guest_address{page * 4096 + 4095}},
                     .memory = &block.backing(),
                     .name = "ram"};
    };
    const auto change = [&](auto const& removals, auto const& additions) {
      listener.begin(commit_kind::refusable);
      for (const std::uint64_t page : removals) listener.remove(at(page));
      for (const std::uint64_t page : additions) listener.add(at(page));
      return listener.commit();
    };
    using pages = std::vector<std::uint64_t>;
    tether_test::must(change(pages{}, pages{0, 1}));
    const pages none, gone{0}, come{4, 5, 6}, all{0, 1};
    tether_test::failing_allocation = n;
    const auto outcome = change(gone, come);
    more = tether_test::failing_allocation == 0 ? 1 : 0;
    tether_test::failing_allocation = 0;
    CHECK_FALSE(listener.diverged());
    if (outcome) {
      CHECK(listener.usage().mappings == 4);
      continue;
    }
    CHECK(outcome.error().code() == std::make_error_code(std::errc::not_enough_memory));
    CHECK(listener.usage().mappings == 2);
    CHECK(iommu.free_mappings() == 65533);
    // All that stands goes with every allocation failing, and what was refused does not stand.
    CHECK_FALSE(change(come, pages{}));
    for (std::uint64_t m = 1; m != 4; ++m) {
      tether_test::failing_allocation = m;
      const auto removed = change(all, none);
      tether_test::failing_allocation = 0;
      REQUIRE(removed);
      CHECK(listener.usage().mappings == 0);
      tether_test::must(change(pages{}, all));
    }
  }
}

}  // namespace scenario_fed_by_hand
