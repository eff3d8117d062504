// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/address_space.hpp>

#include <support/listener_recorder.hpp>
#include <support/must.hpp>
#include <support/reference_map.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace runtime_topology_address_space {

using namespace tether;
using tether_test::listener_calls;
using tether_test::listener_recorder;
using tether_test::must;
using tether_test::reference_map;

namespace {

constexpr std::uint64_t page = reference_map::page;

std::vector<section> listed(address_space const& guest) {
  const auto view = guest.view();
  return {view->begin(), view->end()};
}

}  // namespace

TEST_CASE("a read-only flip removes and adds the same range, a ROM is readable only") {
  auto block = must(ram_block::allocate("ram", 4 * page));
  address_space guest;
  const auto id = must(guest.place(region::ram(block), guest_address{0}));
  listener_recorder listener;
  must(guest.add_listener(listener));
  listener.forget();
  must(guest.set_read_only(id, true));
  CHECK(listener.written() == listener_calls{"begin", "-ram[0,3fff]", "+ram[0,3fff]r", "commit"});
  CHECK(guest.view()->find(guest_address{0})->rights() == access::read);
  must(guest.set_read_only(id, true));
  CHECK(listener.begins == 2);
  const auto rom = must(guest.place(region::rom(block), guest_address{1 * MiB}));
  CHECK(guest.view()->find(guest_address{1 * MiB})->rights() == access::read);
  must(guest.remove(rom));
  must(guest.remove_listener(listener));
}

TEST_CASE("logging writes is neither a removal nor an addition") {
  auto block = must(ram_block::allocate("ram", 4 * page));
  address_space guest;
  const auto id =
      must(guest.place(region::ram(block, block_offset{0}, 2 * page), guest_address{0}));
  const auto neighbour = must(
      guest.place(region::ram(block, block_offset{2 * page}, 2 * page), guest_address{2 * page}));
  listener_recorder listener;
  must(guest.add_listener(listener));
  listener.forget();
  must(guest.set_dirty_log(id, true));
  CHECK(listener.written().empty());
  CHECK(guest.view()->size() == 1);
  must(guest.set_dirty_log(id, false));
  must(guest.set_dirty_log(neighbour, true));
  CHECK(listener.written().empty());
  must(guest.remove_listener(listener));
}

TEST_CASE("a disabled region contributes nothing and comes back at its place") {
  auto block = must(ram_block::allocate("ram", 4 * page));
  address_space guest;
  const auto id = must(guest.place(region::ram(block), guest_address{0}));
  const auto before = listed(guest);
  must(guest.set_enabled(id, false));
  CHECK(guest.view()->empty());
  CHECK(block.free().error().is(errc::still_in_use));
  must(guest.set_enabled(id, true));
  CHECK(listed(guest) == before);
}

TEST_CASE(
    "a block that a region or a view mentions cannot be freed, and can as soon as none does") {
  auto block = must(ram_block::allocate("ram", 4 * page));
  address_space guest;
  const auto id = must(guest.place(region::ram(block), guest_address{0}));
  CHECK(block.free().error().is(errc::still_in_use));
  {
    const auto reader = guest.view();
    must(guest.remove(id));
    CHECK(block.free().error().is(errc::still_in_use));
  }
  must(block.free());
}

TEST_CASE("an edit that nobody can see tells nobody anything") {
  auto block = must(ram_block::allocate("ram", 4 * page));
  address_space guest;
  const auto id = must(guest.place(region::ram(block), guest_address{0}, 1));
  listener_recorder listener;
  must(guest.add_listener(listener));
  listener.forget();
  const auto hidden = must(guest.place(region::mmio("hidden", page), guest_address{page}));
  must(guest.move(id, guest_address{0}));
  must(guest.set_enabled(id, true));
  CHECK(listener.written().empty());
  CHECK(guest.view()->size() == 1);
  must(guest.set_enabled(id, false));
  CHECK(guest.view()->find(guest_address{page})->name == "hidden");
  must(guest.remove(hidden));
  must(guest.remove_listener(listener));
}

TEST_CASE("a replacement by the same memory at the same place tells nobody anything") {
  auto block = must(ram_block::allocate("ram", 4 * page));
  address_space guest;
  const auto id = must(guest.place(region::ram(block), guest_address{0}));
  listener_recorder listener;
  must(guest.add_listener(listener));
  listener.forget();
  auto change = guest.begin();
  must(change.remove(id));
  const auto again = must(change.place(region::ram(block).named("again"), guest_address{0}));
  CHECK(must(change.commit()).added == 0);
  CHECK(listener.written().empty());
  CHECK(guest.view()->find(guest_address{0})->name == "again");
  must(guest.remove(again));
  must(guest.remove_listener(listener));
}

TEST_CASE(
    "whatever is done to a guest, view and listener are what asking every page and comparing "
    "everything gives") {
  constexpr std::uint64_t pages = 64;
  auto block = must(ram_block::allocate("ram", pages * page));
  auto other = must(ram_block::allocate("other", pages * page));
  std::mt19937_64 random{2024};
  address_space guest;
  listener_recorder listener;
  must(guest.add_listener(listener));
  reference_map reference{pages};
  std::vector<region_id> ids;
  std::vector<section> before;
  for (int step = 0; step < 5000; ++step) {
    listener.forget();
    // One commit in eight is refused, one in eight abandoned: then nothing at all may have changed.
    const auto fate = random() % 8;
    auto const reference_before = reference;
    auto const ids_before = ids;
    const auto refusals = listener.refuse_at = fate == 0 ? 1 : 0;
    bool committed = false;
    {
      auto change = guest.begin();
      for (auto edits = 1 + random() % 3; edits-- > 0;) {
        const auto choice = random() % 10;
        if (ids.size() < 4 || (choice < 3 && ids.size() < 16)) {
          const std::uint64_t size = 1 + random() % 16;
          const std::uint64_t first = random() % (pages - size);
          const std::uint64_t offset = random() % 4 != 0 ? first : random() % (pages - size);
          region what = random() % 5 == 0 ? region::mmio("mmio", size * page)
                                          : region::ram(random() % 3 != 0 ? block : other,
                                                        block_offset{offset * page}, size * page);
          what = what.read_only(random() % 4 == 0).unmergeable(random() % 6 == 0);
          const int priority = static_cast<int>(random() % 3);
          const auto id = must(change.place(what, guest_address{first * page}, priority));
          reference.place(id, what, first, priority);
          ids.push_back(id);
          continue;
        }
        auto& id = ids[random() % ids.size()];
        auto& known = reference.regions.at(id.value);
        const bool on = random() % 2 == 0;
        switch (choice % 5) {
          case 0:
            must(change.remove(id));
            reference.regions.erase(id.value);
            id = ids.back();
            ids.pop_back();
            break;
          case 1:
            known.first_page = random() % (pages - known.what.size() / page);
            must(change.move(id, guest_address{known.first_page * page}));
            break;
          case 2: must(change.set_enabled(id, known.enabled = on)); break;
          case 3: must(change.set_read_only(id, known.read_only = on)); break;
          default: must(change.set_dirty_log(id, on)); break;
        }
      }
      if (fate != 1) committed = change.commit().has_value();
    }
    if (refusals != 0 && listener.refuse_at == 0) REQUIRE_FALSE(committed);
    listener.refuse_at = 0;
    if (!committed) {
      reference = reference_before;
      ids = ids_before;
    }
    const auto expected = reference.sections();
    const auto now = listed(guest);
    REQUIRE_MESSAGE(now == expected, "step ", step, ": ", tether_test::drawn(now), " instead of ",
                    tether_test::drawn(expected));
    REQUIRE(listener.mapped() == expected);
    REQUIRE_MESSAGE(listener.breaches.empty(), listener.breaches.front());
    if (committed) {
      const auto told =
          tether_test::missing(before, now).size() + tether_test::missing(now, before).size();
      REQUIRE(listener.written().size() == (told == 0 ? 0 : told + 2));
    }
    before = now;
  }
  must(guest.remove_listener(listener));
  CHECK(listener.mapped().empty());
}

}  // namespace runtime_topology_address_space
