// SPDX-License-Identifier: BSL-1.0
#include <tether/granule/edges.hpp>

#include <cstdint>

using namespace tether;
using enum fitting::verdict;

namespace {

constexpr std::uint64_t ram = 0x7f00'0000'0000;
constexpr std::uint64_t end = ~std::uint64_t{0};

constexpr fitting fit(std::uint64_t first, std::uint64_t last, std::uint64_t host,
                      std::uint64_t page = 4 * KiB) {
  return fit_to_pages({{io_address{first}, io_address{last}}, host_address{host}}, page);
}
constexpr bool covers(fitting const& found, std::uint64_t first, std::uint64_t last,
                      std::uint64_t host) {
  return found.inside.where == extent<io_address>{io_address{first}, io_address{last}} &&
         found.inside.host == host_address{host};
}

static_assert(edges<trim_edges> && edges<refuse_edges>);
static_assert(!edges<int>);

// Whole pages.
static_assert(fit(0x1000, 0x2fff, ram).how == fits && fit(0x1000, 0x2fff, ram).trimmed == 0);
static_assert(fit(0, end, 0).how == fits, "the whole space, whose size does not fit 64 bits");
static_assert(fit(end - 0xfff, end, ram).how == fits);

// A ragged start, a ragged end, both.
static_assert(fit(0x1800, 0x2fff, ram + 0x800).how == trimmed);
static_assert(fit(0x1800, 0x2fff, ram + 0x800).trimmed == 0x800);
static_assert(covers(fit(0x1800, 0x2fff, ram + 0x800), 0x2000, 0x2fff, ram + 0x1000));
static_assert(covers(fit(0x1000, 0x2ffe, ram), 0x1000, 0x1fff, ram));
static_assert(fit(0x1000, 0x2ffe, ram).trimmed == 0xfff);
static_assert(covers(fit(0x1fff, 0x3000, ram + 0xfff), 0x2000, 0x2fff, ram + 0x1000));
static_assert(fit(0x1fff, 0x3000, ram + 0xfff).trimmed == 2);

// Less than a page, however it lies.
static_assert(fit(0x1000, 0x1ffe, ram).how == nothing_left &&
              fit(0x1000, 0x1ffe, ram).trimmed == 0xfff);
static_assert(fit(0x1001, 0x1fff, ram + 1).how == nothing_left);
static_assert(fit(0x1800, 0x27ff, ram + 0x800).how == nothing_left,
              "a page long, but across a border");
static_assert(fit(0x1001, 0x2ffe, ram + 1).how == nothing_left,
              "almost two pages, and not one whole");
static_assert(fit(0x1800, 0x1800, ram + 0x800).how == nothing_left);
static_assert(fit(end, end, ram + 0xfff).how == nothing_left);
static_assert(fit(end - 0xffe, end, ram + 1).how == nothing_left,
              "rounding the start up would wrap to zero");
static_assert(covers(fit(end - 0x1000, end, ram + 0xfff), end - 0xfff, end, ram + 0x1000));
static_assert(covers(fit(1, end, 1), 0x1000, end, 0x1000));

// Not congruent, in small pages and in large ones only.
static_assert(fit(0x1000, 0x2fff, ram + 1).how == not_congruent &&
              !fit(0x1000, 0x2fff, ram + 1).mappable());
static_assert(fit(0x1800, 0x2fff, ram).how == not_congruent);
static_assert(fit(0x1000, 0x4'0fff, ram).how == fits);
static_assert(fit(0x1000, 0x4'0fff, ram, 64 * KiB).how == not_congruent,
              "4 KiB apart, which a 64 KiB page cannot map");
static_assert(covers(fit(0x1000, 0x4'0fff, ram + 0x1000, 64 * KiB), 0x1'0000, 0x3'ffff,
                     ram + 0x1'0000));
static_assert(fit(0x1000, 0x4'0fff, ram + 0x1000, 64 * KiB).trimmed == 64 * KiB);

// Who refuses what.
static_assert(!trim_edges::refuses(fits, true) && !trim_edges::refuses(trimmed, true) &&
              !trim_edges::refuses(nothing_left, true));
static_assert(trim_edges::refuses(not_congruent, true) &&
              !trim_edges::refuses(not_congruent, false));
static_assert(!refuse_edges::refuses(fits, true) && refuse_edges::refuses(trimmed, true));
static_assert(refuse_edges::refuses(nothing_left, true) &&
              refuse_edges::refuses(not_congruent, true));
static_assert(!refuse_edges::refuses(trimmed, false) &&
              !refuse_edges::refuses(nothing_left, false));

}  // namespace
