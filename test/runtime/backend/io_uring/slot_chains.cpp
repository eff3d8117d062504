// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/io_uring/slot_chains.hpp>

#include <doctest/doctest.h>

#include <set>

namespace runtime_backend_io_uring_slot_chains {

using namespace tether;
using namespace tether::detail;

TEST_CASE("slots are handed out once, and come back whole in any order") {
  slot_chains slots;
  REQUIRE(slots.make(8));
  const auto first = slots.allocate(3);
  const auto second = slots.allocate(1);
  const auto third = slots.allocate(4);
  CHECK(slots.free() == 0);
  std::set<std::uint32_t> seen;
  for (const auto chain : {first, second, third}) {
    for (auto slot = chain.head; slot != slot_chains::end; slot = slots.next(slot))
      CHECK(seen.insert(slot).second);
  }
  CHECK(seen.size() == 8);
  slots.free(second);
  slots.free(first);
  CHECK(slots.free() == 4);
  const auto again = slots.allocate(4);
  CHECK(slots.nth(again, 0) == again.head);
  CHECK(slots.next(slots.nth(again, 3)) == slot_chains::end);
  slots.free(third);
  slots.free(again);
  CHECK(slots.free() == 8);
}

TEST_CASE("slots add up what they pin") {
  slot_chains slots;
  REQUIRE(slots.make(4));
  slots.set_pinned(1, 1u << 30);
  slots.set_pinned(2, 1u << 30);
  slots.set_pinned(3, 4096);
  CHECK(slots.pinned() == (2ull << 30) + 4096);
  slots.set_pinned(1, 0);
  CHECK(slots.pinned() == (1ull << 30) + 4096);
  CHECK(slots.pinned(2) == 1u << 30);
  CHECK(slots.pinned(1) == 0);
}

}  // namespace runtime_backend_io_uring_slot_chains
