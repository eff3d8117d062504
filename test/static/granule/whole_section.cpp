// SPDX-License-Identifier: BSL-1.0
#include <tether/granule/whole_section.hpp>

using namespace tether;

namespace {

constexpr mapping at(std::uint64_t io, std::uint64_t host, std::uint64_t size) {
  return {{io_address{io}, io_address{io} + (size - 1)}, host_address{host}};
}

static_assert(granularity<whole_section>);
static_assert(!maps_in_blocks<whole_section>,
              "a section is no block: nothing in it can be discarded alone");
static_assert(whole_section::first_piece(at(0, 0, 4 * KiB), block_offset{0}, page_sizes{}) ==
              4 * KiB);
static_assert(whole_section::first_piece(at(12 * KiB, 0, 3 * GiB + 4 * KiB), block_offset{4 * KiB},
                                         page_sizes{}) == 3 * GiB + 4 * KiB);
static_assert(whole_section::pieces(at(12 * KiB, 0, 1024 * GiB), block_offset{0},
                                    page_sizes{4 * KiB | 2 * MiB}) == 1);

}  // namespace
