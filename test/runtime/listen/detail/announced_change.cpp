// SPDX-License-Identifier: BSL-1.0
#include <tether/listen/detail/announced_change.hpp>

#include <tether/listen/detail/feed.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>

namespace runtime_listen_detail_announced_change {

using namespace tether;
using namespace tether::detail;
using tether_test::must;

namespace {

section at(ram_block& block, std::uint64_t page) {
  return {.where = {guest_address{page * 4 * KiB}, guest_address{page * 4 * KiB + 0xfff}},
          .memory = &block.backing(),
          .name = "ram"};
}

}  // namespace

TEST_CASE_TEMPLATE("what is told is kept until the change ends, with room for all of it to go",
                   Feed, checked_feed, trusted_feed) {
  ram_block block = must(ram_block::allocate("ram", 64 * KiB));
  announced_change<Feed> change;
  for (std::uint64_t i = 0; i != 9; ++i) {
    change.begin(commit_kind::compulsory);
    CHECK(change.kind() == commit_kind::compulsory);
    change.add(at(block, i));
    change.validate();
    CHECK(change.verdict().has_value());
    CHECK(change.added().size() == 1);
    change.end(true);
    CHECK(change.added().empty());
  }
  CHECK(change.room() >= 9);
  change.begin(commit_kind::refusable);
  CHECK(change.kind() == commit_kind::refusable);
  for (std::uint64_t i = 0; i != 9; ++i) change.remove(at(block, i));
  CHECK(change.removed().size() == 9);
  change.note_out_of_memory();
  CHECK(change.out_of_memory());
  change.end(false);
  CHECK_FALSE(change.out_of_memory());
  CHECK(change.removed().empty());
}

TEST_CASE("what the judge finds wrong is not kept") {
  ram_block block = must(ram_block::allocate("ram", 64 * KiB));
  announced_change<checked_feed> change;
  change.begin(commit_kind::refusable);
  change.remove(at(block, 0));
  change.add(at(block, 1));
  change.add(at(block, 1));
  CHECK(change.removed().empty());
  change.validate();
  CHECK(change.added().size() == 1);
  CHECK(change.verdict().error().is(errc::not_mapped));
  change.end(true);
  change.reset();
  change.begin(commit_kind::refusable);
  change.add(at(block, 1));
  change.validate();
  CHECK(change.verdict().has_value());
}

}  // namespace runtime_listen_detail_announced_change
