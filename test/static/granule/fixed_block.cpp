// SPDX-License-Identifier: BSL-1.0
#include <tether/granule/fixed_block.hpp>

using namespace tether;

namespace {

constexpr std::uint64_t ram = 0x7f00'0000'0000;

constexpr mapping at(std::uint64_t io, std::uint64_t size) {
  return {{io_address{io}, io_address{io} + (size - 1)}, host_address{ram}};
}

using small = fixed_block<64 * KiB>;
using large = fixed_block<2 * MiB>;

static_assert(granularity<fixed_block<4 * KiB>> && granularity<small> && granularity<large> &&
              granularity<fixed_block<GiB>>);
static_assert(maps_in_blocks<small> && small::block_size == 64 * KiB);

// The grid is the RAM block's, whatever the IOVA.
static_assert(small::first_piece(at(0, MiB), block_offset{0}, {}) == 64 * KiB);
static_assert(small::first_piece(at(4 * KiB, MiB), block_offset{0}, {}) == 64 * KiB);
static_assert(small::first_piece(at(0, MiB), block_offset{4 * KiB}, {}) == 60 * KiB,
              "a short first piece");
static_assert(small::first_piece(at(0, 8 * KiB), block_offset{60 * KiB}, {}) == 4 * KiB);
static_assert(small::first_piece(at(4 * KiB, 4 * KiB), block_offset{64 * KiB}, {}) == 4 * KiB,
              "a short last piece");
static_assert(small::first_piece(at(0, 8 * KiB), block_offset{4 * KiB}, {}) == 8 * KiB,
              "both ends short");

static_assert(small::pieces(at(0, MiB), block_offset{0}, {}) == 16);
static_assert(small::pieces(at(0, MiB), block_offset{4 * KiB}, {}) == 17);
static_assert(small::pieces(at(0, 4 * KiB), block_offset{4 * KiB}, {}) == 1);
static_assert(small::pieces(at(0, 8 * KiB), block_offset{60 * KiB}, {}) == 2);
static_assert(small::pieces(at(0, 64 * KiB), block_offset{64 * KiB}, {}) == 1);

// 100 MiB in blocks of 2 MiB are 50 mappings; 256 GiB in blocks of 8 MiB fill the 32,768 entries
// that type1 gives.
static_assert(large::pieces(at(0, 100 * MiB), block_offset{0}, {}) == 50);
static_assert(fixed_block<8 * MiB>::pieces(at(4 * GiB, 256 * GiB), block_offset{0}, {}) == 32768);

// The last bytes of the I/O address space.
static_assert(large::pieces(at(0 - 3 * MiB, 3 * MiB), block_offset{MiB}, {}) == 2);

}  // namespace
