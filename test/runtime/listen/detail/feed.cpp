// SPDX-License-Identifier: BSL-1.0
#include <tether/listen/detail/feed.hpp>

#include <tether/topology/ram_block.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <system_error>
#include <type_traits>
#include <vector>

namespace runtime_listen_detail_feed {

using namespace tether;
using namespace tether::detail;
using tether_test::must;

namespace {

struct rig {
  ram_block block = must(ram_block::allocate("ram", 64 * KiB));
  checked_feed feed;

  section at(std::uint64_t page, std::uint64_t pages = 1) {
    return {.where = {guest_address{page * 4 * KiB}, guest_address{(page + pages) * 4 * KiB - 1}},
            .memory = &block.backing(),
            .name = "ram"};
  }
  bool remove(section one) { return feed.removes(one); }
  /// One addition; whether it is right.
  bool add(section one) {
    std::vector<section_plan> added;
    if (feed.adds(one)) added.push_back({.what = one});
    CHECK(feed.validate(added));
    return !added.empty();
  }
};

}  // namespace

TEST_CASE("who is trusted is not asked") {
  static_assert(std::is_empty_v<trusted_feed>);
  section one;
  CHECK(trusted_feed::removes(one));
  CHECK(trusted_feed::adds(one));
  CHECK(trusted_feed::validate({}));
  CHECK(trusted_feed::verdict().has_value());
}

TEST_CASE("what stands is what was added by changes that happened and not removed by one") {
  rig r;
  section first = r.at(0);
  section second = r.at(1);
  r.feed.begin();
  CHECK(r.add(first));
  CHECK(r.feed.verdict().has_value());
  r.feed.end(false);
  r.feed.begin();
  CHECK_FALSE(r.remove(first));
  CHECK(r.feed.verdict().error().is(errc::not_mapped));
  CHECK(r.add(first));
  CHECK(r.add(second));
  r.feed.end(true);
  r.feed.begin();
  CHECK(r.remove(first));
  CHECK_FALSE(r.remove(first));
  CHECK(r.add(first));
  CHECK_FALSE(r.add(first));
  r.feed.end(false);
  r.feed.begin();
  CHECK(r.remove(first));
  CHECK(r.remove(second));
  CHECK(r.add(r.at(0, 2)));
  CHECK(r.feed.verdict().has_value());
  r.feed.end(true);
  r.feed.begin();
  CHECK_FALSE(r.remove(first));
  CHECK(r.feed.verdict().error().is(errc::cuts_a_mapping));
  r.feed.reset();
  r.feed.begin();
  CHECK(r.add(first));
}

TEST_CASE("the first thing that is wrong is the verdict, and the next change begins without it") {
  rig r;
  section one = r.at(3);
  section wraps = r.at(5);
  wraps.where.last = guest_address{0};
  r.feed.begin();
  CHECK_FALSE(r.remove(one));
  CHECK_FALSE(r.add(wraps));
  CHECK(r.feed.verdict().error().is(errc::not_mapped));
  CHECK(r.feed.verdict().error().first() == one.where.first.value);
  r.feed.end(true);
  CHECK(r.feed.verdict().error().code() ==
        std::make_error_code(std::errc::operation_not_permitted));
  r.feed.begin();
  CHECK(r.feed.verdict().has_value());
}

TEST_CASE("all of 2^64 is an extent like any other, and its last byte is looked at") {
  rig r;
  section everything{.where = extent<guest_address>::everything(), .kind = region_kind::mmio};
  section last{.where = {guest_address{~std::uint64_t{0}}, guest_address{~std::uint64_t{0}}},
               .kind = region_kind::mmio};
  r.feed.begin();
  CHECK(r.add(everything));
  CHECK_FALSE(r.add(last));
  CHECK(r.feed.verdict().error().is(errc::overlaps));
  r.feed.end(true);
  r.feed.begin();
  CHECK(r.remove(everything));
  CHECK(r.add(last));
  CHECK(r.add(r.at(0, 16)));
  CHECK_FALSE(r.add(r.at(16, 17)));
  r.feed.end(true);
}

TEST_CASE("a name is good until the change ends") {
  rig r;
  std::string name = "dimm0";
  section one = r.at(0);
  one.name = name;
  r.feed.begin();
  CHECK(r.feed.adds(one));
  name = "?????";
  CHECK(one.name == "dimm0");
}

}  // namespace runtime_listen_detail_feed
