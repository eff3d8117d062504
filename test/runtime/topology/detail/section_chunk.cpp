// SPDX-License-Identifier: BSL-1.0
#include <tether/core/label.hpp>
#include <tether/topology/detail/section_chunk.hpp>
#include <tether/topology/detail/section_owner.hpp>
#include <tether/topology/detail/section_run.hpp>

#include <support/failing_allocation.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace runtime_topology_detail_section_chunk {

using namespace tether;
using namespace tether::detail;

namespace {

/// `count` sections of one byte each, numbered by where they lie.
section_run numbered(std::size_t count, section_owner_pointer const& owner) {
  section_run run;
  for (std::size_t i = 0; i != count; ++i) {
    section one{};
    one.where = {guest_address{i}, guest_address{i}};
    one.name = owner->name().view();
    run.append(one, owner);
  }
  return run;
}

}  // namespace

TEST_CASE("a chunk is one allocation, and keeps what it shows alive for as long as it lives") {
  const auto owner = std::make_shared<section_owner const>(label{"uart"}, nullptr);
  for (const std::size_t count : {std::size_t{1}, std::size_t{2}, std::size_t{127}}) {
    CAPTURE(count);
    const auto run = numbered(count, owner);
    const std::uint64_t before = tether_test::allocations_made;
    auto chunk = section_chunk::make(count);
    CHECK(chunk->size() == 0);
    chunk->append(run, 0, count);
    if (tether_test::allocations_can_fail) CHECK(tether_test::allocations_made - before == 1);
    CHECK(chunk->size() == count);
    CHECK(chunk->owners().size() == count);
    for (std::size_t i = 0; i != count; ++i) {
      CHECK(chunk->sections()[i].where.first.value == i);
      CHECK(chunk->owners()[i] == owner);
    }
    CHECK(owner.use_count() == static_cast<long>(1 + 2 * count));
    chunk.reset();
    CHECK(owner.use_count() == static_cast<long>(1 + count));
  }
}

TEST_CASE("parts of a chunk and of a run lie in another in the order in which they were appended") {
  const auto owner = std::make_shared<section_owner const>(label{"uart"}, nullptr);
  const auto run = numbered(9, owner);
  auto first = section_chunk::make(5);
  first->append(run, 4, 5);
  auto second = section_chunk::make(5);  // not all of it is used
  second->append(*first, 1, 2);
  second->append(run, 0, 1);
  CHECK(second->size() == 3);
  CHECK(second->sections()[0].where.first.value == 5);
  CHECK(second->sections()[1].where.first.value == 6);
  CHECK(second->sections()[2].where.first.value == 0);
  CHECK(owner.use_count() == 1 + 9 + 5 + 3);
}

TEST_CASE("where there is no memory for it there is no chunk") {
  if (!tether_test::allocations_can_fail) return tether_test::cannot_fail_allocations();
  tether_test::failing_allocation = 1;
  CHECK_THROWS_AS(static_cast<void>(section_chunk::make(3)), std::bad_alloc);
  tether_test::failing_allocation = 0;
}

}  // namespace runtime_topology_detail_section_chunk
