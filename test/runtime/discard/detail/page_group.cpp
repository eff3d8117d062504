// SPDX-License-Identifier: BSL-1.0
#include <tether/discard/detail/page_group.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <map>
#include <memory_resource>
#include <random>
#include <set>

namespace runtime_discard_detail_page_group {

using namespace tether;
using namespace tether::detail;

TEST_CASE("a page is complete with its last frame, and not before, in whatever order they come") {
  for (const std::uint64_t bytes : {8 * KiB, 64 * KiB, 2 * MiB, 16 * MiB, 32 * MiB}) {
    const std::uint64_t frames = bytes / frame_size;
    page_group group{frames, std::pmr::get_default_resource()};
    const partial_page page{group, page_group::frames_in(frames) / frames - 1};
    CAPTURE(frames);
    CHECK(page.frames() == frames);
    for (std::uint64_t i = 0; i < frames; ++i) {
      if (page.complete()) FAIL("complete after ", i);
      // 7 divides no power of two, so each comes once
      const std::uint64_t frame = (i * 7 + 3) % frames;
      if (!page.mark_free(frame) || page.mark_free(frame)) FAIL("frame ", frame);
      if (page.inflated() != i + 1) FAIL("inflated ", page.inflated(), " after ", i);
    }
    CHECK(page.complete());
    CHECK(group.size() == 1);
    CHECK(page.mark_used(frames - 1));
    CHECK_FALSE(page.mark_used(frames - 1));
    CHECK_FALSE(page.complete());
    CHECK(page.mark_free(frames - 1));
    CHECK(page.complete());
  }
}

TEST_CASE("a group says of each of its pages what a set of frames says") {
  std::mt19937_64 random{3};
  for (const std::uint64_t frames : {2U, 16U, 32U, 64U, 512U, 4096U}) {
    CAPTURE(frames);
    page_group group{frames, std::pmr::get_default_resource()};
    const std::uint64_t all = page_group::frames_in(frames);
    std::map<std::uint64_t, std::set<std::uint64_t>> model;
    for (int step = 0; step < 5000; ++step) {
      const std::uint64_t frame = random() % all;
      auto& page = model[frame / frames];
      if (random() % 3 != 0) {
        REQUIRE(group.mark_free(frame) == page.insert(frame).second);
      } else {
        REQUIRE(group.mark_used(frame) == (page.erase(frame) == 1));
      }
      REQUIRE(group.inflated(frame / frames) == page.size());
    }
    std::size_t pages = 0;
    for (std::uint64_t page = 0; page < all / frames; ++page) {
      REQUIRE(group.inflated(page) == model[page].size());
      if (!model[page].empty()) ++pages;
    }
    CHECK(group.size() == pages);
    for (auto const& [page, those] : model)
      for (const std::uint64_t frame : those) group.mark_used(frame);
    CHECK(group.empty());
  }
}

TEST_CASE("a page stays discarded until one of its frames is deflated, and its neighbours do not") {
  for (const std::uint64_t frames : {2U, 16U, 512U}) {
    page_group group{frames, std::pmr::get_default_resource()};
    for (std::uint64_t frame = 0; frame < 3 * frames; ++frame) group.mark_free(frame);
    const partial_page page{group, 1};
    CHECK_FALSE(page.discarded());
    page.mark_discarded();
    CHECK(page.discarded());
    CHECK_FALSE(group.discarded(0));
    CHECK_FALSE(group.discarded(2));
    CHECK(page.complete());
    CHECK(group.mark_used(0));
    CHECK(group.mark_used(2 * frames));
    CHECK(page.discarded());
    CHECK(page.mark_used(frames - 1));
    CHECK_FALSE(page.discarded());
    CHECK(page.mark_free(frames - 1));
    CHECK_FALSE(page.discarded());
  }
}

}  // namespace runtime_discard_detail_page_group
