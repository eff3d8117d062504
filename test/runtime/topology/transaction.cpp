// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/address_space.hpp>
#include <tether/topology/transaction.hpp>

#include <support/listener_recorder.hpp>
#include <support/must.hpp>
#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace runtime_topology_transaction {

using namespace tether;
using tether_test::listener_calls;
using tether_test::listener_recorder;
using tether_test::must;

namespace {

constexpr std::uint64_t top = std::numeric_limits<std::uint64_t>::max();

std::vector<section> listed(address_space const& guest) {
  const auto view = guest.view();
  return {view->begin(), view->end()};
}

}  // namespace

TEST_CASE("edits are seen by nobody before the commit, and together after it") {
  auto block = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  listener_recorder listener;
  must(guest.add_listener(listener));
  auto change = guest.begin();
  const auto ram = must(change.place(region::ram(block), guest_address{0}));
  const auto uart = must(change.place(region::mmio("uart", 4 * KiB), guest_address{8 * KiB}, 1));
  CHECK_FALSE(ram == uart);
  CHECK(guest.view()->empty());
  CHECK(listener.written().empty());
  const auto report = must(change.commit());
  CHECK(report.removed == 0);
  CHECK(report.added == 3);
  CHECK(report.fenced.empty());
  CHECK(guest.view()->size() == 3);
  CHECK(listener.mapped() == listed(guest));
  CHECK(listener.begins == 1);
  must(guest.remove_listener(listener));
}

TEST_CASE("an abandoned transaction has done nothing") {
  auto block = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  const auto id = must(guest.place(region::ram(block), guest_address{0}));
  listener_recorder listener;
  must(guest.add_listener(listener));
  listener.forget();
  const auto before = listed(guest);
  region_id fresh;
  {
    auto change = guest.begin();
    must(change.set_read_only(id, true));
    must(change.move(id, guest_address{1 * MiB}));
    fresh = must(change.place(region::mmio("uart", 16), guest_address{0}));
    must(change.remove(id));
  }
  CHECK(listed(guest) == before);
  CHECK(listener.written().empty());
  CHECK(guest.remove(fresh).error().is(errc::stale_handle));
  must(guest.remove(id));
  must(guest.remove_listener(listener));
  must(block.free());
}

TEST_CASE("regions that cannot be placed are refused by name, and nothing changes") {
  auto block = must(ram_block::allocate("ram", 64 * KiB));
  auto gone = must(ram_block::allocate("gone", 64 * KiB));
  const auto of_gone = [&] {
    const auto moved = std::move(gone);
    // NOLINT(bugprone-use-after-move): what this test is about
    return region::ram(gone).named("lost");
  }();
  address_space guest;
  const auto id = must(guest.place(region::ram(block), guest_address{0}));
  const auto before = listed(guest);
  const auto references = block.backing().references();
  const auto refused = [&](region const& what, std::uint64_t at, errc cause) {
    const auto outcome = guest.place(what, guest_address{at});
    REQUIRE_FALSE(outcome);
    CHECK_MESSAGE(outcome.error().is(cause), outcome.error().sentence());
    CHECK(outcome.error().subject() == what.name().view());
    CHECK(listed(guest) == before);
  };
  refused(region::ram(block, block_offset{0}, 0), 0, errc::invalid_extent);
  refused(region::mmio("uart", 0), 0, errc::invalid_extent);
  refused(region::mmio("uart", 2), top, errc::invalid_extent);
  refused(region::ram(block), top - 64 * KiB + 2, errc::invalid_extent);
  refused(region::ram(block, block_offset{0}, 64 * KiB + 1), 0, errc::past_the_end);
  refused(region::ram(block, block_offset{4 * KiB}, 64 * KiB), 0, errc::past_the_end);
  refused(region::ram(block, block_offset{64 * KiB}, 1), 0, errc::past_the_end);
  refused(region::ram(block, block_offset{top}, 1), 0, errc::past_the_end);
  refused(region::ram(block, block_offset{4 * KiB}, top), 0, errc::past_the_end);
  refused(of_gone, 0, errc::stale_handle);
  // Regions that were made before their block went: freed, destroyed, replaced by another.
  auto freed = must(ram_block::allocate("freed", 64 * KiB));
  auto replaced = must(ram_block::allocate("replaced", 64 * KiB, memory_kind::shared));
  const region of_freed = region::ram(freed);
  const region of_replaced = region::rom(replaced, block_offset{4 * KiB}, 4 * KiB);
  const region of_destroyed = [] {
    auto short_lived = must(ram_block::allocate("destroyed", 64 * KiB));
    return region::ram(short_lived);
  }();
  must(freed.free());
  replaced = must(ram_block::allocate("another", 64 * KiB));
  refused(of_freed, 0, errc::stale_handle);
  refused(of_replaced, 0, errc::stale_handle);
  refused(of_destroyed, 0, errc::stale_handle);
  CHECK(guest.move(id, guest_address{top - 64 * KiB + 2}).error().is(errc::invalid_extent));
  CHECK(listed(guest) == before);
  CHECK(block.backing().references() == references);
  must(guest.move(id, guest_address{top - 64 * KiB + 1}));
  CHECK(guest.view()->find(guest_address{top}) != nullptr);
}

TEST_CASE("an id of nothing is refused by every edit") {
  address_space guest;
  const auto id = must(guest.place(region::mmio("uart", 16), guest_address{0}));
  must(guest.remove(id));
  for (const auto stale : {id, region_id{}, region_id{top}}) {
    CHECK(guest.remove(stale).error().is(errc::stale_handle));
    CHECK(guest.move(stale, guest_address{0}).error().is(errc::stale_handle));
    CHECK(guest.set_read_only(stale, true).error().is(errc::stale_handle));
    CHECK(guest.set_enabled(stale, true).error().is(errc::stale_handle));
    CHECK(guest.set_dirty_log(stale, true).error().is(errc::stale_handle));
  }
  CHECK(guest.view()->empty());
}

TEST_CASE("a failed edit changes nothing, and the transaction goes on without it") {
  address_space guest;
  auto change = guest.begin();
  CHECK_FALSE(change.place(region::mmio("nothing", 0), guest_address{0}));
  CHECK_FALSE(change.remove(region_id{77}));
  const auto id = must(change.place(region::mmio("uart", 16), guest_address{0}));
  CHECK(must(change.commit()).added == 1);
  CHECK(change.commit().error().is(errc::stale_handle));
  CHECK(change.remove(id).error().is(errc::stale_handle));
  CHECK(change.move(id, guest_address{5}).error().is(errc::stale_handle));
  CHECK(guest.view()->size() == 1);
}

TEST_CASE(
    "the outer transaction waits for the inner one, and one destroyed out of turn stops the "
    "program") {
  address_space guest;
  auto outer = guest.begin();
  {
    auto inner = guest.begin();
    CHECK(outer.place(region::mmio("uart", 16), guest_address{0}).error().is(errc::still_in_use));
    CHECK(outer.commit().error().is(errc::still_in_use));
    static_cast<void>(must(inner.commit()));
  }
  const auto id = must(outer.place(region::mmio("uart", 16), guest_address{0}));
  CHECK_FALSE(id == region_id{});
  CHECK(must(outer.commit()).added == 1);

  CHECK(tether_test::stopped_by([&] {
          struct holder {
            explicit holder(address_space& of) : held{of.begin()} {}
            transaction held;
          };
          auto first = std::make_unique<holder>(guest);
          const auto second = std::make_unique<holder>(guest);
          first.reset();
        }).find("tether[M2]") != std::string::npos);
}

TEST_CASE(
    "a region whose block moved is placed all the same, and keeps the block from being freed") {
  auto block = must(ram_block::allocate("ram", 64 * KiB));
  const region whole = region::ram(block);
  auto moved = std::move(block);
  address_space guest;
  const auto id = must(guest.place(whole, guest_address{0}));
  CHECK(moved.free().error().is(errc::still_in_use));
  must(guest.remove(id));
  must(moved.free());
}

TEST_CASE(
    "a block is freed on one thread while another places a region of it: one of them is refused, "
    "and never both happen") {
  int placed_first = 0;
  int freed_first = 0;
  for (int round = 0; round < 300; ++round) {
    auto block = must(ram_block::allocate(
        "ram", 64 * KiB, round % 2 == 0 ? memory_kind::private_anonymous : memory_kind::shared));
    const region whole = region::ram(block);
    address_space guest;
    std::atomic<bool> go{false};
    std::thread placing{[&] {
      while (!go.load()) {}
      const auto id = guest.place(whole, guest_address{0});
      if (!id) {
        CHECK(id.error().is(errc::stale_handle));
        ++freed_first;
        return;
      }
      guest.view()->find(guest_address{0})->memory->data()[0] = std::byte{1};
      must(guest.remove(*id));
      ++placed_first;
    }};
    go = true;
    for (auto done = block.free(); !done; done = block.free())
      REQUIRE(done.error().is(errc::still_in_use));
    placing.join();
  }
  CHECK(placed_first + freed_first == 300);
}

TEST_CASE("memory that asks to lie alone is neither hidden nor hides, however it gets there") {
  address_space guest;
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  struct remove_all {
    address_space& guest;
    std::vector<region_id> all{};
    ~remove_all() {
      for (const region_id one : all) static_cast<void>(guest.remove(one));
    }
  } cleanup{guest};
  const auto place = [&](region const& what, std::uint64_t at, int priority = 0) {
    auto placed = guest.place(what, guest_address{at}, priority);
    if (placed) cleanup.all.push_back(*placed);
    return placed;
  };
  const auto plain = region::ram(ram, block_offset{0}, 16 * KiB);
  const auto alone = region::ram(ram, block_offset{16 * KiB}, 16 * KiB).named("dimm").exclusive();
  CHECK(alone.is_exclusive());
  REQUIRE(place(plain, 0));
  REQUIRE(place(plain, 8 * KiB));  // nobody has asked: the later hides the earlier
  const auto refused = place(alone, 20 * KiB, -1);
  REQUIRE(!refused);
  CHECK(refused.error().is(errc::overlaps));
  CHECK(refused.error().subject() == "dimm");
  CHECK(refused.error().first() == 20 * KiB);
  CHECK(refused.error().last() == 24 * KiB - 1);
  const auto lies = place(alone, 24 * KiB);
  REQUIRE(lies);
  CHECK(place(region::rom(ram, block_offset{0}, 4 * KiB), 24 * KiB).error().is(errc::overlaps));
  CHECK(place(region::mmio("registers", 4 * KiB), 24 * KiB, 1));  // no memory
  const auto other = place(plain, 64 * KiB);
  REQUIRE(other);
  CHECK(guest.move(*other, guest_address{32 * KiB}).error().is(errc::overlaps));
  CHECK(guest.move(*lies, guest_address{28 * KiB}));  // over where it lies itself
  must(guest.set_enabled(*other, false));
  must(guest.move(*other, guest_address{32 * KiB}));
  CHECK(guest.set_enabled(*other, true).error().is(errc::overlaps));
  must(guest.move(*lies, guest_address{128 * KiB}));
  must(guest.set_enabled(*other, true));
}

TEST_CASE("an address space that refuses RAM over RAM names both, and lets everything else be") {
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  ram_block dimm = must(ram_block::allocate("dimm", 64 * KiB));
  address_space guest{ram_overlaps::refused};
  const auto first = must(guest.place(region::ram(ram), guest_address{0}));
  const auto over = guest.place(region::ram(dimm), guest_address{32 * KiB}, 1);
  REQUIRE(!over);
  CHECK(over.error().is(errc::overlaps));
  CHECK(over.error().subject() == "dimm");
  CHECK(over.error().blocker() == "ram");
  CHECK(over.error().first() == 32 * KiB);
  CHECK(over.error().last() == 64 * KiB - 1);
  CHECK(guest.view()->sections().size() == 1);
  // what is no RAM
  const auto rom = must(guest.place(region::rom(dimm, block_offset{0}, 4 * KiB), guest_address{0}));
  const auto registers =
      must(guest.place(region::mmio("registers", 4 * KiB), guest_address{8 * KiB}, 1));
  // beside it, moved over it, disabled and enabled over it
  const auto second = must(guest.place(region::ram(dimm), guest_address{64 * KiB}));
  CHECK(guest.move(second, guest_address{60 * KiB}).error().blocker() == "ram");
  must(guest.move(second, guest_address{68 * KiB}));  // over where it lies itself
  must(guest.set_enabled(second, false));
  must(guest.move(second, guest_address{60 * KiB}));
  CHECK(guest.set_enabled(second, true).error().is(errc::overlaps));
  {
    // one takes the place of the other, in this order
    auto change = guest.begin();
    must(change.remove(first));
    must(change.set_enabled(second, true));
    static_cast<void>(must(change.commit()));
  }
  for (const auto one : {second, rom, registers}) must(guest.remove(one));

  address_space usual;
  const auto below = must(usual.place(region::ram(ram), guest_address{0}));
  const auto above = must(usual.place(region::ram(dimm), guest_address{32 * KiB}));
  must(usual.remove(below));
  must(usual.remove(above));
}

}  // namespace runtime_topology_transaction
