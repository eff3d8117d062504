// SPDX-License-Identifier: BSL-1.0
#include <tether/core/page_sizes.hpp>

using namespace tether;

namespace {

constexpr page_sizes pc{4 * KiB | 2 * MiB | GiB};
constexpr page_sizes large{64 * KiB | 512 * MiB};

static_assert(page_sizes{}.smallest() == 4 * KiB && page_sizes{}.largest() == 4 * KiB);
static_assert(pc.smallest() == 4 * KiB && pc.largest() == GiB);
static_assert(large.smallest() == 64 * KiB && large.largest() == 512 * MiB);
static_assert(sizes_of_page_tables(4 * KiB) == page_sizes{4 * KiB | 2 * MiB | 1 * GiB});
static_assert(sizes_of_page_tables(64 * KiB).smallest() == 64 * KiB &&
              sizes_of_page_tables(64 * KiB).has(512 * MiB));
static_assert(page_sizes{0}.empty() && !pc.empty());
static_assert(page_sizes{std::uint64_t{1} << 63}.smallest() == std::uint64_t{1} << 63);

static_assert(pc.has(4 * KiB) && pc.has(GiB) && !pc.has(8 * KiB) && !large.has(4 * KiB));
static_assert(!pc.has(4 * KiB | 2 * MiB) && !pc.has(0), "two sizes are no size");

// Room and alignment each limit it; neither alone decides.
static_assert(pc.largest_at(0, GiB) == GiB && pc.largest_at(0, GiB - 1) == 2 * MiB &&
              pc.largest_at(0, 2 * MiB - 1) == 4 * KiB);
static_assert(pc.largest_at(2 * MiB, GiB) == 2 * MiB &&
              pc.largest_at(GiB | 4 * KiB, GiB) == 4 * KiB);
static_assert(pc.largest_at(8 * KiB, GiB) == 4 * KiB && pc.largest_at(3 * GiB, 2 * GiB) == GiB);
static_assert(pc.largest_at(0, 4 * KiB - 1) == 0 && pc.largest_at(2 * KiB, GiB) == 0);
static_assert(large.largest_at(4 * KiB, GiB) == 0 &&
              large.largest_at(64 * KiB, 64 * KiB) == 64 * KiB);

static_assert(round_down(0x1fff, 4 * KiB) == 0x1000 && round_down(0x1000, 4 * KiB) == 0x1000 &&
              round_down(0xfff, 4 * KiB) == 0);
static_assert(round_up(0x1001, 4 * KiB) == 0x2000 && round_up(0x1000, 4 * KiB) == 0x1000 &&
              round_up(0, 4 * KiB) == 0);
static_assert(round_up(~std::uint64_t{0}, 4 * KiB) == 0, "rounding up may wrap");

}  // namespace
