// SPDX-License-Identifier: BSL-1.0
// How often each operation allocates, exactly: what runs while a guest runs does not at all, and a
// commit as often for one change whatever the size of the map.
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/discard/balloon.hpp>
#include <tether/discard/page_reporting.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/failing_allocation.hpp>
#include <support/may_discard.hpp>
#include <support/must.hpp>
#include <support/shared_sections.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace scenario_allocations {

using namespace tether;
using tether_test::allocations_can_fail;
using tether_test::allocations_made;
using tether_test::cannot_fail_allocations;
using tether_test::may_discard;
using tether_test::must;

namespace {

constexpr std::uint64_t page = 4 * KiB;

/// How often `operation` allocates in this thread.
template <class Operation>
std::uint64_t allocations_of(Operation operation) {
  const std::uint64_t before = allocations_made;
  operation();
  return allocations_made - before;
}

/// `islands` pages of one block with holes of a page between them, and a page to put into a hole.
struct guest_of {
  std::uint64_t islands;
  ram_block ram;
  address_space space;

  explicit guest_of(std::uint64_t count)
      : islands{count}, ram{must(ram_block::allocate("ram", (count + 1) * page))} {
    auto change = space.begin();
    for (std::uint64_t i = 0; i != count; ++i)
      static_cast<void>(must(change.place(shown(i), guest_address{2 * i * page})));
    static_cast<void>(must(change.commit()));
  }
  [[nodiscard]] region shown(std::uint64_t number) {
    return region::ram(ram, block_offset{number * page}, page);
  }
  [[nodiscard]] guest_address hole(std::uint64_t number) const {
    return guest_address{(2 * number + 1) * page};
  }
  /// A commit that fills a hole, and one that empties it: how often each allocates, the edits
  /// themselves aside.
  std::array<std::uint64_t, 2> fill_and_empty(std::uint64_t number) {
    std::array<std::uint64_t, 2> made{};
    auto filled = space.begin();
    const auto id = must(filled.place(shown(islands), hole(number)));
    made[0] = allocations_of([&] { static_cast<void>(must(filled.commit())); });
    auto emptied = space.begin();
    must(emptied.remove(id));
    made[1] = allocations_of([&] { static_cast<void>(must(emptied.commit())); });
    return made;
  }
};

}  // namespace

TEST_CASE("what runs while a guest runs allocates nothing") {
  if (!allocations_can_fail) return cannot_fail_allocations();
  guest_of guest{600};
  discard_gate<> gate;
  balloon device{guest.space, gate};
  balloon telling{guest.space, gate, {.must_tell_host = true}};
  page_reporting reporting{guest.space, gate};
  std::vector<std::uint32_t> frames;
  for (std::uint32_t i = 600; i-- != 0;) frames.push_back(2 * i);
  const std::vector<extent<guest_address>> reported{{guest_address{0}, guest_address{page - 1}}};
  std::uint64_t discarded = 0;

  CHECK(allocations_of([&] { CHECK(may_discard(gate, discard_kind::uncoordinated)); }) == 0);
  CHECK(allocations_of([&] { discarded += device.inflate(frames).discarded; }) == 0);
  CHECK(allocations_of([&] { discarded += telling.inflate(frames).discarded; }) == 0);
  CHECK(allocations_of([&] { discarded += reporting.report(reported).discarded; }) == 0);
  CHECK(discarded == 1201);
  CHECK(allocations_of([&] { static_cast<void>(device.deflate(frames)); }) == 0);
  CHECK(allocations_of([&] { static_cast<void>(must(gate.hold(hold_kind::any, "dma"))); }) == 0);
  CHECK(allocations_of([&] { CHECK(guest.space.view()->find(guest.hole(3)) == nullptr); }) == 0);
}

TEST_CASE("an IOMMU that has grown translates, maps and unmaps without allocating") {
  if (!allocations_can_fail) return cannot_fail_allocations();
  guest_of guest{300};
  discard_gate<> gate;
  container<software_iommu> dma{guest.space, gate};
  auto group = must(dma.attach(endpoint_group{"nics", {{"nic", pin_class::pins}}}));
  auto device = must(group.open("nic"));
  std::array<std::byte, 64> bytes{};
  CHECK(allocations_of([&] {
          CHECK(device->dma_read(io_address{40 * page}, bytes));
          CHECK(device->dma_write(io_address{40 * page}, bytes));
        }) == 0);

  software_iommu iommu;
  const auto all_of_them = [&] {
    for (std::uint64_t i = 0; i != 300; ++i)
      must(iommu.map({{io_address{2 * i * page}, io_address{2 * i * page + (page - 1)}},
                      host_address{guest.ram.host().value + i * page}}));
    for (std::uint64_t i = 0; i != 300; ++i)
      must(iommu.unmap({io_address{2 * i * page}, io_address{2 * i * page + (page - 1)}}));
  };
  all_of_them();
  CHECK(allocations_of(all_of_them) == 0);
}

TEST_CASE(
    "a commit of one change allocates the view, a chunk and its group, and a list of groups if "
    "there are several") {
  if (!allocations_can_fail) return cannot_fail_allocations();
  for (const std::uint64_t islands : {10u, 100u, 1000u, 5000u}) {
    CAPTURE(islands);
    guest_of guest{islands};
    const std::uint64_t fewest = guest.space.view()->groups().size() == 1 ? 3 : 4;
    const std::array<std::uint64_t, 3> holes{islands / 2, islands / 3, islands / 2};
    for (const auto number : holes) static_cast<void>(guest.fill_and_empty(number));  // grows
    for (const auto number : holes) {
      const auto [filled, emptied] = guest.fill_and_empty(number);
      // a chunk that is full is cut in two
      CHECK((filled == fewest || filled == fewest + 1));
      CHECK((emptied == fewest || emptied == fewest + 1));
    }
    CHECK(guest.fill_and_empty(islands / 2) == std::array<std::uint64_t, 2>{fewest, fewest});
  }
}

TEST_CASE("an edit allocates for what it adds, in any map: three times to place, once to move") {
  if (!allocations_can_fail) return cannot_fail_allocations();
  for (const std::uint64_t islands : {10u, 1000u}) {
    CAPTURE(islands);
    guest_of guest{islands};
    static_cast<void>(guest.fill_and_empty(3));  // the log of edits has grown
    auto change = guest.space.begin();
    region_id id{};
    // its owner, which views share; the region; its entry in the index by address
    CHECK(allocations_of([&] {
            id = must(change.place(guest.shown(islands), guest.hole(3)));
          }) == 3);
    static_cast<void>(must(change.commit()));
    const auto edit = [&](auto what) {
      auto one = guest.space.begin();
      const auto made = allocations_of([&] { must(what(one)); });
      static_cast<void>(must(one.commit()));
      return made;
    };
    CHECK(edit([&](transaction& one) { return one.move(id, guest.hole(7)); }) == 1);
    CHECK(edit([&](transaction& one) { return one.set_read_only(id, true); }) == 0);
    CHECK(edit([&](transaction& one) { return one.set_enabled(id, false); }) == 0);
    CHECK(edit([&](transaction& one) { return one.set_dirty_log(id, true); }) == 0);
    CHECK(edit([&](transaction& one) { return one.remove(id); }) == 0);
  }
}

TEST_CASE("containers that follow a commit of one change add no allocation to it") {
  if (!allocations_can_fail) return cannot_fail_allocations();
  for (const std::uint64_t islands : {10u, 300u}) {
    CAPTURE(islands);
    guest_of guest{islands};
    discard_gate<> gate;
    std::deque<container<software_iommu>> followers;
    std::deque<attached_group<container<software_iommu>>> groups;
    for (int i = 0; i != 3; ++i) {
      groups.push_back(must(followers.emplace_back(guest.space, gate)
                                .attach(endpoint_group{"nics", {{"nic", pin_class::pins}}})));
      static_cast<void>(guest.fill_and_empty(islands / 2));  // grows
      CHECK(guest.fill_and_empty(islands / 2) == std::array<std::uint64_t, 2>{3, 3});
    }
  }
}

TEST_CASE("a commit that changes nothing allocates nothing, and the view stays the same one") {
  if (!allocations_can_fail) return cannot_fail_allocations();
  guest_of guest{200};
  const auto view = guest.space.view();
  CHECK(allocations_of([&] { static_cast<void>(must(guest.space.begin().commit())); }) == 0);
  for (int round = 0; round != 3; ++round) {
    auto change = guest.space.begin();
    const auto id = must(change.place(guest.shown(200), guest.hole(7)));
    must(change.remove(id));
    const auto made = allocations_of([&] { static_cast<void>(must(change.commit())); });
    if (round != 0) CHECK(made == 0);
  }
  CHECK(guest.space.is_current(view));
}

TEST_CASE("a commit of N changes allocates for the chunks that change, and to grow") {
  if (!allocations_can_fail) return cannot_fail_allocations();
  for (const std::uint64_t count : {1u, 16u, 256u, 2000u}) {
    CAPTURE(count);
    guest_of guest{2000};
    auto change = guest.space.begin();
    for (std::uint64_t i = 0; i != count; ++i)
      static_cast<void>(
          must(change.place(region::mmio("registers", page), guest.hole(i * (2000 / count)))));
    const auto before = tether_test::chunks_of(*guest.space.view());
    const auto made = allocations_of([&] { static_cast<void>(must(change.commit())); });
    std::uint64_t fresh = 0;
    for (auto const& chunk : tether_test::chunks_of(*guest.space.view()))
      fresh += std::ranges::find(before, chunk) == before.end() ? 1U : 0U;
    // The view and its group; each chunk that is not shared; seven vectors that double.
    CHECK(made >= 2 + fresh);
    CHECK(made <= 2 + fresh + 7 * std::bit_width(2 * count + 8));
  }
}

}  // namespace scenario_allocations
