// SPDX-License-Identifier: BSL-1.0
#include <tether/granule/largest_page.hpp>

using namespace tether;

namespace {

constexpr page_sizes pc{4 * KiB | 2 * MiB | GiB};
// what type1 says when nothing real is attached
constexpr page_sizes any_power{~std::uint64_t{4 * KiB - 1}};
constexpr page_sizes large{64 * KiB | 512 * MiB};
constexpr std::uint64_t ram = 0x7f00'0000'0000;  // a multiple of 1 GiB
constexpr std::uint64_t TiB = 1024 * GiB;

constexpr mapping at(std::uint64_t io, std::uint64_t host, std::uint64_t size) {
  return {{io_address{io}, io_address{io} + (size - 1)}, host_address{host}};
}
constexpr std::uint64_t first(std::uint64_t io, std::uint64_t host, std::uint64_t size,
                              page_sizes sizes) {
  return largest_page::first_piece(at(io, host, size), block_offset{0}, sizes);
}
constexpr std::uint64_t count(std::uint64_t io, std::uint64_t host, std::uint64_t size,
                              page_sizes sizes) {
  return largest_page::pieces(at(io, host, size), block_offset{0}, sizes);
}

static_assert(granularity<largest_page>);
static_assert(!maps_in_blocks<largest_page>);

// Aligned on both sides: the largest that fits.
static_assert(first(0, ram, 2 * MiB, pc) == 2 * MiB);
static_assert(first(0, ram, 2 * MiB - 4 * KiB, pc) == 4 * KiB);
static_assert(first(0, ram, 3 * GiB, pc) == GiB);
static_assert(first(2 * MiB, ram + 2 * MiB, 3 * GiB, pc) == 2 * MiB);
static_assert(count(0, ram, 3 * GiB, pc) == 3);
static_assert(count(2 * MiB, ram + 2 * MiB, GiB, pc) == 512);
static_assert(count(GiB - 2 * MiB, ram - 2 * MiB, GiB + 4 * MiB, pc) == 3);

// A page before the border, one page behind the last one.
static_assert(count(2 * MiB - 4 * KiB, ram - 4 * KiB, 2 * MiB + 8 * KiB, pc) == 3);
static_assert(count(4 * KiB, ram + 4 * KiB, 2 * MiB, pc) == 512,
              "2 MiB that contain no aligned 2 MiB");
static_assert(count(4 * KiB, ram + 4 * KiB, 4 * MiB, pc) == 511 + 1 + 1);

// IOVA and host address differ within 2 MiB: no page of 2 MiB is aligned on both sides, however
// large the section.
static_assert(first(2 * MiB, ram + 4 * KiB, 64 * MiB, pc) == 4 * KiB);
static_assert(count(2 * MiB, ram + 4 * KiB, 64 * MiB, pc) == 16384);
static_assert(first(GiB, ram + 2 * MiB, GiB, pc) == 2 * MiB,
              "they agree within 2 MiB, not within 1 GiB");
static_assert(count(GiB, ram + 2 * MiB, GiB, pc) == 512);

// A mask without gaps: powers of two up to the border and down from it.
static_assert(first(0, ram, 7 * MiB, any_power) == 4 * MiB);
static_assert(count(0, ram, 7 * MiB, any_power) == 3);
static_assert(count(4 * KiB, ram + 4 * KiB, 2 * MiB - 4 * KiB, any_power) == 9,
              "4, 8, 16 ... 1024 KiB");
static_assert(count(4 * KiB, ram + 4 * KiB, 4 * MiB - 8 * KiB, any_power) == 18, "and down again");

// A smallest page of 64 KiB.
static_assert(first(64 * KiB, ram + 64 * KiB, 128 * KiB, large) == 64 * KiB);
static_assert(count(0, ram, 512 * MiB + 64 * KiB, large) == 2);
static_assert(count(64 * KiB, ram, 512 * MiB, large) == 8192);

// The end of the address space, and sizes at which a loop over the pieces would be felt.
static_assert(count(0 - GiB, ram - GiB, GiB, pc) == 1);
static_assert(count(0 - GiB - 4 * KiB, ram - GiB - 4 * KiB, GiB + 4 * KiB, pc) == 2);
static_assert(count(4 * KiB, ram, 16 * TiB, pc) == 16 * TiB / (4 * KiB));

// Against the requirement: an answer all the same, that a backend will refuse.
static_assert(first(100, ram, 4 * KiB, pc) == 4 * KiB);
static_assert(first(4 * KiB, ram + 4 * KiB, 8 * KiB, large) == 8 * KiB);
static_assert(count(4 * KiB, ram + 4 * KiB, 8 * KiB, large) == 1);

}  // namespace
