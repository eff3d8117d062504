// SPDX-License-Identifier: BSL-1.0
#include <tether/discard/detail/checked_view.hpp>

#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>

#include <doctest/doctest.h>

#include <cstdint>

namespace runtime_discard_detail_checked_view {

using namespace tether;
using namespace tether::detail;
using detail::checked_view;

TEST_CASE(
    "a view answers for a block until an edit concerns it, and for one that it has not been asked "
    "about until any view follows it") {
  auto ram = ram_block::allocate("ram", 64 * KiB).value();
  auto other = ram_block::allocate("other", 64 * KiB).value();
  address_space guest;
  const auto id = guest.place(region::ram(ram), guest_address{0});
  REQUIRE(id);
  REQUIRE(guest.place(region::ram(other), guest_address{1 * MiB}));
  const auto now = [](ram_block const& of) { return of.backing().generation().number(); };

  checked_view view{guest};
  CHECK((*view).size() == 2);
  CHECK(view.generation_of(ram.backing()) == now(ram));
  REQUIRE(guest.place(region::mmio("registers", 4 * KiB), guest_address{2 * MiB}));
  // asked about before, and nothing has happened to it
  CHECK(view.generation_of(ram.backing()) == now(ram));
  CHECK_FALSE(view.generation_of(other.backing()));  // nobody can tell
  CHECK(view.generation_of(ram.backing()) == now(ram));
  REQUIRE(guest.set_read_only(*id, true));
  CHECK_FALSE(view.generation_of(ram.backing()));

  checked_view newer{guest};
  CHECK(newer.generation_of(other.backing()) == now(other));
  CHECK(newer.generation_of(ram.backing()) == now(ram));
}

TEST_CASE(
    "while an edit is under way nobody can tell, and an edit by another address space is only "
    "another number") {
  auto ram = ram_block::allocate("ram", 64 * KiB).value();
  address_space guest;
  address_space other;
  REQUIRE(guest.place(region::ram(ram), guest_address{0}));
  checked_view view{guest};
  const auto before = view.generation_of(ram.backing());
  REQUIRE(before);
  ram.backing().generation().begin_edit();
  CHECK_FALSE(view.generation_of(ram.backing()));
  ram.backing().generation().end_edit();
  REQUIRE(other.place(region::ram(ram), guest_address{0}));
  const auto after = view.generation_of(ram.backing());
  REQUIRE(after);
  CHECK(*after != *before);
}

}  // namespace runtime_discard_detail_checked_view
