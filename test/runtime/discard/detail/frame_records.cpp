// SPDX-License-Identifier: BSL-1.0
// What becomes of one frame, by the memory it lies in, the permit, and what was recorded before.
#include <tether/discard/detail/frame_records.hpp>

#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>

#include <support/counted_memory.hpp>
#include <support/guest_ram.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <memory_resource>
#include <optional>
#include <string>
#include <utility>

namespace runtime_discard_detail_frame_records {

using namespace tether;
using tether_test::must;

namespace {

constexpr std::uint64_t unit = 32 * KiB;  // 8 frames
constexpr std::uint32_t divided = 0x100;
constexpr std::uint32_t whole = 0x200;
constexpr std::uint32_t nothing = 0x300;

struct small_guest {
  ram_block units = must(ram_block::allocate("divided", 4 * unit));
  ram_block plain = must(ram_block::allocate("plain", 4 * unit));
  address_space guest;
  discard_gate<> gate;
  std::optional<detail::frame_records> records;

  explicit small_guest(bool whole_units_only = false) {
    records.emplace(std::pmr::get_default_resource(), true, whole_units_only);
    must(divide(units, unit));
    static_cast<void>(must(guest.place(region::ram(units), frame_address(divided))));
    static_cast<void>(must(guest.place(region::ram(plain), frame_address(whole))));
    tether_test::mark_all(units);
  }
  /// Adds `count` frames under one permit, and discards what is ready.
  discard_report add(std::uint32_t first, std::uint32_t count, discard_kind kind,
                     bool forgets = true) {
    detail::inflate_request now{std::pmr::get_default_resource()};
    const auto permit = gate.permit(kind);
    detail::checked_view view{guest};
    detail::guest_memory memory{*view};
    if (forgets) records->erase_expired(view.guard());
    for (std::uint32_t frame = first; frame < first + count; ++frame)
      CHECK(records->add(frame, view, memory, permit, now));
    now.discard_ready(permit.coordinated(), permit);
    now.report.requested = count;
    CHECK(now.report.adds_up());
    return now.report;
  }
};

}  // namespace

TEST_CASE("coordinated: frames of divided memory wait for their unit, others are inhibited") {
  small_guest vm;
  auto told = vm.add(divided + 1, 7, discard_kind::coordinated);
  CHECK(told.waiting == 7);
  CHECK(told.calls == 0);
  told = vm.add(whole, 2, discard_kind::coordinated);
  CHECK(told.inhibited == 2);
  told = vm.add(nothing, 2, discard_kind::coordinated);
  CHECK(told.inhibited == 2);
  CHECK(vm.records->source_of(vm.plain.backing()) == nullptr);
  told = vm.add(divided, 1, discard_kind::coordinated);
  CHECK(told.discarded == 1);
  CHECK(told.completed == 7);
  CHECK(told.units_discarded == 1);
  CHECK(told.calls == 1);
  CHECK_FALSE(vm.units.backing().population()->is_populated(0));
  // again: nothing is asked of the host
  told = vm.add(divided, 8, discard_kind::coordinated);
  CHECK(told.discarded == 8);
  CHECK(told.units_discarded == 0);
  CHECK(told.calls == 0);
}

TEST_CASE("all allowed: frames go at once, and the last one takes the unit") {
  small_guest vm;
  auto told = vm.add(divided, 7, discard_kind::uncoordinated);
  CHECK(told.discarded == 7);
  CHECK(told.calls == 1);
  CHECK(tether_test::went(vm.units, 0));
  CHECK(vm.units.backing().population()->is_populated(0));
  told = vm.add(divided + 7, 1, discard_kind::uncoordinated);
  CHECK(told.units_discarded == 1);
  CHECK(told.completed == 0);  // they had gone
  CHECK_FALSE(vm.units.backing().population()->is_populated(0));
  told = vm.add(whole, 2, discard_kind::uncoordinated);
  CHECK(told.discarded == 2);
}

TEST_CASE("a frame that is used again makes its unit incomplete") {
  small_guest vm;
  CHECK(vm.add(divided, 7, discard_kind::coordinated).waiting == 7);
  vm.records->mark_used(vm.units.backing(), 3 * frame_size);
  CHECK(vm.add(divided + 7, 1, discard_kind::coordinated).waiting == 1);
  CHECK(vm.add(divided + 3, 1, discard_kind::coordinated).units_discarded == 1);
  auto* const source = vm.records->source_of(vm.units.backing());
  REQUIRE(source != nullptr);
  CHECK(source->size() == 1);
  std::uint64_t visited = 0;
  vm.records->for_each_source([&](unit_source& one) { visited += &one == source ? 1 : 100; });
  CHECK(visited == 1);
  vm.records->clear();
  CHECK(vm.add(divided, 1, discard_kind::coordinated).waiting == 1);
}

TEST_CASE("without the guest's promise no unit is gathered") {
  small_guest vm;
  vm.records.emplace(std::pmr::get_default_resource(), false, false);
  CHECK(vm.add(divided, 8, discard_kind::coordinated).inhibited == 8);
  CHECK(vm.add(divided, 8, discard_kind::uncoordinated).discarded == 8);
  CHECK(vm.units.backing().population()->is_populated(0));
}

TEST_CASE("memory that is gone is forgotten, and looked for once for each view of the map") {
  tether_test::counted_memory notes;
  small_guest vm;
  vm.records.emplace(&notes, true, false);
  std::optional<ram_block> plugged = must(ram_block::allocate("plugged", 4 * unit));
  must(divide(*plugged, unit));
  const auto id = must(vm.guest.place(region::ram(*plugged), frame_address(nothing)));
  CHECK(vm.add(nothing, 8, discard_kind::coordinated).units_discarded == 1);
  memory_backing const* const where = &plugged->backing();
  must(vm.guest.remove(id));
  vm.records->erase_expired(vm.guest.view());
  CHECK(vm.records->source_of(*where) != nullptr);
  // unplugged, and freed: a balloon's records are in nobody's way
  plugged.reset();
  CHECK(vm.records->source_of(*where) == nullptr);
  const auto of_one = notes.now;
  CHECK(of_one > 0);
  vm.records->erase_expired(vm.guest.view());
  CHECK(notes.now == of_one);
  static_cast<void>(must(vm.guest.place(region::ram(vm.plain), frame_address(nothing))));
  vm.records->erase_expired(vm.guest.view());
  CHECK(notes.now == 0);
}

TEST_CASE("a block at a freed block's address has units of its own, whoever has looked") {
  small_guest vm;
  bool met = false;
  memory_backing const* before = nullptr;
  for (int round = 0; round < 64; ++round) {
    ram_block plugged = must(ram_block::allocate("plugged", 4 * unit));
    must(divide(plugged, unit));
    met = met || &plugged.backing() == before;
    before = &plugged.backing();
    const auto id = must(vm.guest.place(region::ram(plugged), frame_address(nothing)));
    CHECK(vm.add(nothing, 8, discard_kind::coordinated, false).units_discarded == 1);
    CHECK_FALSE(plugged.backing().population()->is_populated(0));
    must(vm.guest.remove(id));
  }
  WARN(met);  // else the allocator never gave the address again, and nothing was shown
}

TEST_CASE("a unit that was busy is tried again by the next of its frames in the same request") {
  small_guest vm;
  detail::inflate_request now{std::pmr::get_default_resource()};
  const auto permit = vm.gate.permit(discard_kind::coordinated);
  detail::checked_view view{vm.guest};
  detail::guest_memory memory{*view};
  const auto add = [&](std::uint32_t frame) {
    CHECK(vm.records->add(frame, view, memory, permit, now));
    now.report.requested += 1;
  };
  for (std::uint32_t frame = divided; frame < divided + 8; ++frame) add(frame);
  population& units = *vm.units.backing().population();
  detail::unit_follower late{};
  const auto enrolled = units.enrol(late, nullptr, [&]() -> result<void> {
    now.discard_ready(true, permit);
    return failure(error{"map", errc::over_budget});
  });
  CHECK_FALSE(enrolled.has_value());
  CHECK(now.report.waiting == 7);
  CHECK(now.report.busy == 1);
  CHECK(units.is_populated(0));
  add(divided + 3);
  CHECK(now.ready.size() == 1);
  now.discard_ready(true, permit);
  CHECK(now.report.units_discarded == 1);
  CHECK(now.report.adds_up());
  CHECK_FALSE(units.is_populated(0));
}

TEST_CASE(
    "another guest's map that changes makes records void, but not while a page of theirs is "
    "ready") {
  small_guest vm;
  address_space other;
  const auto there = must(other.place(region::ram(vm.units), frame_address(nothing)));
  detail::inflate_request now{std::pmr::get_default_resource()};
  const auto permit = vm.gate.permit(discard_kind::coordinated);
  detail::checked_view view{vm.guest};
  detail::guest_memory memory{*view};
  const auto add = [&](std::uint32_t frame) {
    return vm.records->add(frame, view, memory, permit, now);
  };
  for (std::uint32_t frame = divided; frame < divided + 8; ++frame) CHECK(add(frame));
  CHECK(now.ready.size() == 1);
  must(other.set_read_only(there, true));
  CHECK_FALSE(add(divided + 8));
  now.discard_ready(true, permit);
  CHECK(now.report.units_discarded == 1);
  CHECK(add(divided + 8));
  CHECK(now.report.waiting == 1);
}

TEST_CASE("a frame that there is no memory to note is counted as failed, and may be given again") {
  tether_test::counted_memory notes;
  small_guest vm;
  const auto permit = vm.gate.permit(discard_kind::coordinated);
  detail::checked_view view{vm.guest};
  detail::guest_memory memory{*view};
  std::uint64_t number = 1;
  for (;; ++number) {
    CAPTURE(number);
    vm.records.emplace(&notes, true, false);
    detail::inflate_request now{&notes};
    const auto add = [&] {
      now.report.requested += 1;
      CHECK(vm.records->add(divided, view, memory, permit, now));
      CHECK(now.report.adds_up());
    };
    notes.failing = number;
    add();
    if (std::exchange(notes.failing, 0) != 0) break;  // nothing has failed
    CHECK(now.report.errors == 1);
    CHECK(now.report.first_error->code() == std::errc::not_enough_memory);
    add();
    CHECK(now.report.waiting == 1);
  }
  CHECK(number >= 4);  // the block's records, its source, the page's, and the request's
}

TEST_CASE("where whole units are asked for, frames wait for theirs, though they could go at once") {
  small_guest one{true};
  const auto first = one.add(divided, 7, discard_kind::uncoordinated);
  CHECK(first.waiting == 7);
  CHECK(first.calls == 0);
  CHECK(one.add(whole, 3, discard_kind::uncoordinated).discarded == 3);
  const auto last = one.add(divided + 7, 1, discard_kind::uncoordinated);
  CHECK(last.discarded == 1);
  CHECK(last.units_discarded == 1);
}

}  // namespace runtime_discard_detail_frame_records
