// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/guarded_space.hpp>

#include <tether/inhibit/discard_gate.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <optional>

namespace runtime_topology_detail_guarded_space {

using namespace tether;
using namespace tether::detail;
using detail::guarded_space;
using tether_test::must;

namespace {

struct one_guest {
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  discard_gate<> other;
};

constexpr extent<block_offset> first_page{block_offset{0}, block_offset{4 * KiB - 1}};

template <class Threading>
result<void> discard(ram_block& ram, discard_gate<Threading>& through) {
  const auto permit = through.permit(discard_kind::uncoordinated);
  return ram.discard(first_page, permit);
}

}  // namespace

TEST_CASE_FIXTURE(
    one_guest,
    "the first gate that is used with a space is the only one, until nobody uses it any more") {
  auto balloon = std::make_unique<guarded_space>(guest, gate.id());
  auto nic = std::make_unique<guarded_space>(guest, gate.id());
  CHECK(balloon->usable());
  CHECK(nic->usable());
  const guarded_space wrong{guest, other.id()};
  REQUIRE_FALSE(wrong.usable());
  CHECK(wrong.usable().error().is(errc::other_gate));
  CHECK(wrong.usable().error().sentence() ==
        "use address space: tether[I7]: another discard_gate guards this memory, and neither sees "
        "the other's holds; give every container "
        "and every balloon of a guest the same discard_gate");
  balloon.reset();
  CHECK_FALSE(guarded_space{guest, other.id()}.usable());
  nic.reset();
  CHECK(guarded_space{guest, other.id()}.usable());
  CHECK(guarded_space{guest, gate.id()}.usable());
}

TEST_CASE_FIXTURE(
    one_guest,
    "memory of a guarded space is discarded with that gate's permits alone, wherever it is shown") {
  const auto id = must(guest.place(region::ram(ram), guest_address{0}));
  CHECK(discard(ram, other));  // nobody pins or discards through the space yet
  auto balloon = std::make_unique<guarded_space>(guest, gate.id());
  CHECK(discard(ram, gate));
  REQUIRE_FALSE(discard(ram, other));
  CHECK(discard(ram, other).error().is(errc::other_gate));

  // Placed afterwards, and removed: the same.
  auto late = must(ram_block::allocate("late", 64 * KiB));
  const auto late_id = must(guest.place(region::ram(late), guest_address{1 * MiB}));
  CHECK(discard(late, other).error().is(errc::other_gate));
  must(guest.remove(late_id));
  CHECK(discard(late, other));

  balloon.reset();
  CHECK(discard(ram, other));
  must(guest.remove(id));
}

TEST_CASE_FIXTURE(one_guest, "a block that two spaces show has one gate") {
  auto own = must(ram_block::allocate("own", 64 * KiB));
  address_space second;
  static_cast<void>(must(guest.place(region::ram(ram), guest_address{0})));
  const auto alias = must(second.place(region::ram(ram), guest_address{0}));
  auto here = std::make_unique<guarded_space>(guest, gate.id());
  CHECK_FALSE(guarded_space{second, other.id()}.usable());
  CHECK(guarded_space{second, gate.id()}.usable());
  must(second.remove(alias));

  // A refusal leaves nothing guarded: neither what stood before the block that was refused, nor the
  // space.
  static_cast<void>(must(second.place(region::ram(own), guest_address{1 * MiB})));
  static_cast<void>(must(second.place(region::ram(ram), guest_address{0})));
  CHECK_FALSE(guarded_space{second, other.id()}.usable());
  CHECK(discard(own, gate));
  CHECK(discard(own, other));

  // The other way round: the space has its gate, and is to show a block of another's.
  address_space third;
  const guarded_space there{third, other.id()};
  const auto refused = third.place(region::ram(ram), guest_address{0});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is(errc::other_gate));
  CHECK(refused.error().subject() == "ram");
  CHECK(third.view()->empty());
  here.reset();
  const auto placed = third.place(region::ram(ram), guest_address{0});
  REQUIRE(placed);
  must(third.remove(*placed));
}

TEST_CASE_FIXTURE(
    one_guest,
    "a region that an open transaction has removed is guarded too, because it may come back") {
  const auto id = must(guest.place(region::ram(ram), guest_address{0}));
  std::unique_ptr<guarded_space> balloon;
  {
    auto change = guest.begin();
    must(change.remove(id));
    balloon = std::make_unique<guarded_space>(guest, gate.id());
  }
  CHECK(guest.view()->size() == 1);
  CHECK(discard(ram, other).error().is(errc::other_gate));
  balloon.reset();
  CHECK(discard(ram, other));
  must(guest.remove(id));
}

TEST_CASE_FIXTURE(one_guest, "a view keeps the memory that it shows guarded") {
  const auto id = must(guest.place(region::ram(ram), guest_address{0}));
  const guarded_space balloon{guest, gate.id()};
  std::optional<view_guard> reader{guest.view()};
  must(guest.remove(id));
  CHECK(discard(ram, other).error().is(errc::other_gate));
  reader.reset();
  CHECK(discard(ram, other));
}

TEST_CASE_FIXTURE(one_guest, "a permit that was not granted discards nothing") {
  const auto held = gate.hold(hold_kind::any, "nic");
  REQUIRE(held);
  ram.data()[0] = std::byte{42};
  const auto refused = discard(ram, gate);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is(errc::discards_disabled));
  CHECK(ram.data()[0] == std::byte{42});
}

}  // namespace runtime_topology_detail_guarded_space
