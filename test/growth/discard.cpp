// SPDX-License-Identifier: BSL-1.0
// Who gives memory back: balloon and page reporting, N frames or ranges in every order, in one
// request and in N, over one section and over N, over N blocks, in small and in large pages.
#include <growth/growth.hpp>
#include <growth/world.hpp>

#include <tether/discard/balloon.hpp>
#include <tether/discard/frames.hpp>
#include <tether/discard/page_reporting.hpp>
#include <tether/discard/report.hpp>
#include <tether/inhibit/discard_gate.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <memory_resource>
#include <span>
#include <vector>

namespace growth_discard {

using namespace tether;
using namespace tether_test::growth;
using tether_test::must;

namespace {

using frames = std::vector<std::uint32_t>;
constexpr std::uint64_t large = 64 * KiB;
constexpr std::uint64_t in_large = large / frame_size;

/// What is inflated: numbers of frames, as the guest lists them.
frames every(std::uint64_t n, std::uint64_t stride) {
  frames all(n);
  for (std::uint64_t i = 0; i != n; ++i) all[i] = static_cast<std::uint32_t>(i * stride);
  return all;
}
frames ascending(std::uint64_t n) { return every(n, 1); }
frames descending(std::uint64_t n) {
  auto all = ascending(n);
  std::ranges::reverse(all);
  return all;
}
frames random(std::uint64_t n) {
  frames all;
  for (const auto one : shuffled(n)) all.push_back(static_cast<std::uint32_t>(one));
  return all;
}
frames strided(std::uint64_t n) { return every(n, 2); }
/// One frame of each large page, so that none is complete.
frames one_of_each(std::uint64_t n) { return every(n, in_large); }

/// Counts what the records of a balloon take.
struct counted_memory final : std::pmr::memory_resource {
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    tether_test::bytes_allocated += bytes;
    return std::pmr::new_delete_resource()->allocate(bytes, alignment);
  }
  void do_deallocate(void* at, std::size_t bytes, std::size_t alignment) override {
    std::pmr::new_delete_resource()->deallocate(at, bytes, alignment);
  }
  [[nodiscard]] bool do_is_equal(memory_resource const& other) const noexcept override {
    return this == &other;
  }
};

/// A guest whose memory is one block, or a block a page.
struct ballooned {
  ballooned(std::uint64_t pages, std::uint64_t page_size, bool tells, std::uint64_t count = 1)
      : device{space, gate, {.must_tell_host = tells, .memory = &notes}} {
    for (std::uint64_t i = 0; i != count; ++i)
      blocks.push_back(memory_of(pages / count, page_size));
    // As a balloon sorts them, so that how they are sorted does not depend on where they lie.
    std::ranges::sort(blocks, std::less<>{},
                      [](ram_block const& one) -> memory_backing const* { return &one.backing(); });
    auto change = space.begin();
    for (std::uint64_t i = 0; i != count; ++i)
      static_cast<void>(must(
          change.place(region::ram(blocks[i]), guest_address{i * (pages / count) * page_size})));
    static_cast<void>(must(change.commit()));
  }

  std::deque<ram_block> blocks{};
  address_space space{};
  discard_gate<> gate{};
  counted_memory notes{};
  balloon<multi_threaded> device;
};

using numbers = frames (*)(std::uint64_t);

/// N frames in one request, then all deflated.
template <numbers Which>
void in_one_request(std::uint64_t n, meter& all) {
  ballooned here{2 * n, page, false};
  const auto which = Which(n);
  all.count([&] {
    CHECK(here.device.inflate(which).discarded == n);
    CHECK(here.device.deflate(which).returned == n);
  });
}
template <numbers Which>
void in_n_requests(std::uint64_t n, meter& all) {
  ballooned here{2 * n, page, false};
  const auto which = Which(n);
  all.count([&] {
    for (auto const& one : which) CHECK(here.device.inflate({&one, 1}).discarded == 1);
    for (auto const& one : which) CHECK(here.device.deflate({&one, 1}).returned == 1);
  });
}
/// N frames of large pages.
template <numbers Which, bool Tells>
void of_large_pages(std::uint64_t n, meter& all) {
  ballooned here{n, large, Tells};
  const auto which = Which(n);
  all.count([&] {
    CHECK(here.device.inflate(which).adds_up());
    CHECK(here.device.deflate(which).returned == n);
    CHECK(here.device.inflate(which).adds_up());
    here.device.reset();
  });
}
template <numbers Which, bool Tells>
void of_large_pages_in_n_requests(std::uint64_t n, meter& all) {
  ballooned here{n, large, Tells};
  const auto which = Which(n);
  all.count([&] {
    for (auto const& one : which) CHECK(here.device.inflate({&one, 1}).adds_up());
    for (auto const& one : which) CHECK(here.device.deflate({&one, 1}).returned == 1);
  });
}
/// One frame of each of N blocks.
template <bool OneRequest>
void over_blocks(std::uint64_t n, meter& all, std::uint64_t page_size, bool tells) {
  ballooned here{n, page_size, tells, n};
  frames which;
  for (const auto i : shuffled(n))  // in no order, so they are always sorted
    which.push_back(static_cast<std::uint32_t>(i * page_size / frame_size));
  all.count([&] {
    if (OneRequest) {
      CHECK(here.device.inflate(which).adds_up());
      CHECK(here.device.deflate(which).returned == n);
    } else {
      for (auto const& one : which) CHECK(here.device.inflate({&one, 1}).adds_up());
      for (auto const& one : which) CHECK(here.device.deflate({&one, 1}).returned == 1);
    }
  });
}

const row balloons[]{
    {"inflate and deflate N frames that ascend", "balloon::inflate balloon::deflate", promise::each,
     in_one_request<ascending>},
    {"inflate and deflate N frames that descend", "balloon::inflate balloon::deflate",
     promise::each, in_one_request<descending>},
    {"inflate and deflate every second of 2 N frames", "balloon::inflate balloon::deflate",
     promise::each, in_one_request<strided>},
    {"inflate and deflate N frames in any order", "balloon::inflate balloon::deflate",
     promise::each, in_one_request<random>, 2048},
    {"inflate and deflate N frames in N requests", "balloon::inflate balloon::deflate",
     promise::each, in_n_requests<ascending>},
    {"inflate and deflate N frames in N requests, in any order",
     "balloon::inflate balloon::deflate", promise::each, in_n_requests<random>},
    {"inflate and deflate N frames, little-endian", "balloon::inflate balloon::deflate",
     promise::each,
     [](std::uint64_t n, meter& all) {
       ballooned here{n, page, false};
       const auto which = descending(n);
       const auto bytes = std::as_bytes(std::span{which});
       all.count([&] {
         CHECK(here.device.inflate(bytes).requested == n);
         CHECK(here.device.deflate(bytes).requested == n);
       });
     }},
    {"N frames of N / 16 large pages", "balloon::inflate balloon::deflate balloon::reset",
     promise::each, of_large_pages<ascending, false>},
    {"N frames of N / 16 large pages, told", "balloon::inflate", promise::each,
     of_large_pages<ascending, true>},
    {"N frames of N / 16 large pages in any order", "balloon::inflate", promise::each,
     of_large_pages<random, false>, 2048},
    {"N frames of N / 16 large pages in any order, told", "balloon::inflate", promise::each,
     of_large_pages<random, true>, 2048},
    {"a frame of each of N large pages", "balloon::inflate", promise::each,
     of_large_pages<one_of_each, false>, 512},
    {"a frame of each of N large pages, told", "balloon::inflate", promise::each,
     of_large_pages<one_of_each, true>, 512},
    {"N frames of large pages in N requests", "balloon::inflate", promise::each,
     of_large_pages_in_n_requests<ascending, false>},
    {"N frames of large pages in N requests, told", "balloon::inflate", promise::each,
     of_large_pages_in_n_requests<ascending, true>},
    {"a frame of each of N large pages in N requests, told", "balloon::inflate", promise::each,
     of_large_pages_in_n_requests<one_of_each, true>},
    {"a frame of each of N blocks", "balloon::inflate balloon::deflate", promise::each,
     [](std::uint64_t n, meter& all) { over_blocks<true>(n, all, page, false); }, 1024},
    {"a frame of each of N blocks, in N requests", "balloon::inflate balloon::deflate",
     promise::each, [](std::uint64_t n, meter& all) { over_blocks<false>(n, all, page, false); }},
    {"a frame of each of N blocks of large pages", "balloon::inflate balloon::deflate",
     promise::each, [](std::uint64_t n, meter& all) { over_blocks<true>(n, all, large, false); }},
    {"a frame of each of N blocks of large pages, told", "balloon::inflate balloon::deflate",
     promise::each, [](std::uint64_t n, meter& all) { over_blocks<true>(n, all, large, true); }},
    {"a frame of each of N blocks of large pages, told, in N requests",
     "balloon::inflate balloon::deflate", promise::each,
     [](std::uint64_t n, meter& all) { over_blocks<false>(n, all, large, true); }},
    {"inflate N frames that are no memory, or held down", "balloon::inflate", promise::each,
     [](std::uint64_t n, meter& all) {
       ballooned here{1, page, false};
       const auto which = every(n, 7);
       const auto held = here.gate.hold(hold_kind::any, "container");
       REQUIRE(held.has_value());
       all.count([&] { CHECK(here.device.inflate(which).inhibited == n); });
       all.count([&] { CHECK(here.device.deflate(which).not_ram == n - 1); });
     }},
    {"a balloon for a map of N", "balloon::balloon", promise::each,
     [](std::uint64_t n, meter& all) {
       guest here{n};
       here.plug_all();
       discard_gate<> gate;
       all.count([&] { balloon one{here.space, gate}; });
     }},
    {"N balloons for a map of N that a container has", "balloon::balloon", promise::each,
     [](std::uint64_t n, meter& all) {
       guest here{n};
       here.plug_all();
       discard_gate<> gate;
       balloon first{here.space, gate};
       all.count([&] {
         for (std::uint64_t i = 0; i != n; ++i) balloon one{here.space, gate};
       });
     }},
    // A view that is new is a reason to look whether each block is still there: four steps each.
    {"some edits of the map, and a request behind each, of N blocks with incomplete pages",
     "balloon::inflate", promise::each,
     [](std::uint64_t n, meter& all) {
       ballooned here{n, large, true, n};
       const auto which = one_of_each(n);
       CHECK(here.device.inflate(which).adds_up());
       all.count([&] {
         for (std::uint64_t i = 0; i != 16; ++i) {
           static_cast<void>(must(here.space.place(region::mmio("registers", page),
                                                   guest_address{2 * n * large + 2 * i * page})));
           CHECK(here.device.inflate(std::span{which}.subspan(i, 1)).adds_up());
         }
       });
     },
     1024},
};

/// A map of N pages, in one section or in N, of which ranges are reported.
template <layout Lies>
void reported(std::uint64_t n, meter& all, std::uint64_t elements, bool as_one) {
  guest here{n, Lies};
  here.plug_all();
  discard_gate<> gate;
  page_reporting device{here.space, gate};
  std::vector<extent<guest_address>> ranges;
  if (as_one) ranges.push_back({{}, here.place_of(n - 1) + (page - 1)});
  else
    for (std::uint64_t i = 0; i != n; ++i)
      ranges.push_back({here.place_of(i), here.place_of(i) + (page - 1)});
  all.count([&] {
    std::uint64_t gone = 0;
    const std::uint64_t each = ranges.size() / elements;
    for (std::uint64_t i = 0; i != elements; ++i)
      gone += device.report(std::span{ranges}.subspan(i * each, each)).discarded;
    CHECK(gone == n);
  });
}

const row reports[]{
    {"report N ranges in one element", "page_reporting::report", promise::each,
     [](std::uint64_t n, meter& all) { reported<layout::islands>(n, all, 1, false); }},
    {"report N ranges in N elements", "page_reporting::report", promise::each,
     [](std::uint64_t n, meter& all) { reported<layout::islands>(n, all, n, false); }},
    {"report N ranges of one section", "page_reporting::report", promise::each,
     [](std::uint64_t n, meter& all) { reported<layout::neighbours>(n, all, 1, false); }},
    {"report one range over N islands", "page_reporting::report", promise::each,
     [](std::uint64_t n, meter& all) { reported<layout::islands>(n, all, 1, true); }},
    {"report one range over N neighbours", "page_reporting::report", promise::each,
     [](std::uint64_t n, meter& all) { reported<layout::strangers>(n, all, 1, true); }},
    {"report one range in one section of N pages", "page_reporting::report", promise::same,
     [](std::uint64_t n, meter& all) { reported<layout::neighbours>(n, all, 1, true); }},
};

}  // namespace

TEST_CASE("a balloon costs as promised") { judge_all(balloons); }
TEST_CASE("page reporting costs as promised") { judge_all(reports); }

}  // namespace growth_discard
