// SPDX-License-Identifier: BSL-1.0
#include <tether/core/extent.hpp>

using namespace tether;

namespace {

using run = extent<io_address>;
constexpr std::uint64_t end = ~std::uint64_t{0};

constexpr run from_to(std::uint64_t first, std::uint64_t last) {
  return {io_address{first}, io_address{last}};
}

// Nothing empty, nothing that wraps; the last byte of the space is as good as any.
static_assert(!run::of(io_address{0x1000}, 0));
static_assert(run::of(io_address{0x1000}, 0x1000) == from_to(0x1000, 0x1fff));
static_assert(run::of(io_address{end}, 1) == from_to(end, end));
static_assert(!run::of(io_address{end}, 2));
static_assert(run::of(io_address{0}, end) == from_to(0, end - 1));
static_assert(!run::of(io_address{2}, end));
static_assert(run::of(io_address{end - 0xfff}, 0x1000) == from_to(end - 0xfff, end));
static_assert(run::everything().is_everything() && run::everything().size() == 0,
              "2^64 does not fit");
static_assert(!from_to(0, end - 1).is_everything() && !from_to(1, end).is_everything());

static_assert(from_to(5, 5).valid() && from_to(0, end).valid() && from_to(end, end).valid());
static_assert(!from_to(5, 4).valid() && !from_to(end, 0).valid() &&
              !run{io_address{end - 0xfff}, io_address{end} + 0x1000}.valid());

// An address and a length as a queue has them, where what wraps must be accounted for, too.
constexpr run described(std::uint64_t address, std::uint64_t length) {
  return {io_address{address}, io_address{address} + (length - 1)};
}
static_assert(described(0x1000, 0x1000) == *run::of(io_address{0x1000}, 0x1000));
static_assert(described(end, 1).valid() && !described(end, 2).valid() &&
              !described(end - 0xfff, 0x2000).valid());

static_assert(from_to(5, 5).size() == 1 && from_to(0x1000, 0x1fff).size() == 0x1000 &&
              from_to(1, end).size() == end);

static_assert(from_to(10, 20).contains(io_address{10}) && from_to(10, 20).contains(io_address{20}));
static_assert(!from_to(10, 20).contains(io_address{9}) &&
              !from_to(10, 20).contains(io_address{21}));
static_assert(from_to(10, 20).contains(from_to(10, 20)) &&
              !from_to(10, 20).contains(from_to(10, 21)));
static_assert(run::everything().contains(from_to(end, end)));

static_assert(from_to(10, 20).overlaps(from_to(20, 30)) &&
              from_to(20, 30).overlaps(from_to(10, 20)));
static_assert(!from_to(10, 20).overlaps(from_to(21, 30)) &&
              from_to(10, 20).overlaps(from_to(12, 13)));
static_assert(from_to(10, 20).meets(from_to(21, 30)) && !from_to(10, 20).meets(from_to(20, 30)));
static_assert(!from_to(10, 20).meets(from_to(22, 30)) && !from_to(21, 30).meets(from_to(10, 20)));
static_assert(!from_to(10, end).meets(from_to(0, 5)), "the space does not go round");

static_assert(from_to(10, 20).intersection(from_to(15, 30)) == from_to(15, 20));
static_assert(from_to(15, 30).intersection(from_to(10, 20)) == from_to(15, 20));
static_assert(from_to(10, 20).intersection(run::everything()) == from_to(10, 20));
static_assert(!from_to(10, 20).intersection(from_to(21, 30)));

static_assert(from_to(0x1000, 0x1fff).aligned_to(4 * KiB) &&
              !from_to(0x1000, 0x1ffe).aligned_to(4 * KiB));
static_assert(!from_to(0x1001, 0x1fff).aligned_to(4 * KiB) && run::everything().aligned_to(GiB));

static_assert(from_to(0x1000, 0x1fff).moved_to(guest_address{0x8000}) ==
              extent<guest_address>{guest_address{0x8000}, guest_address{0x8fff}});

// Keys of unordered containers: equal ones hash alike, pages in a row do not collide.
constexpr std::hash<guest_address> of_address;
constexpr std::hash<extent<guest_address>> of_extent;
static_assert(of_address(guest_address{4096}) == of_address(guest_address{4096}));
static_assert(of_address(guest_address{4096}) % 64 != of_address(guest_address{8192}) % 64);
static_assert(of_extent({guest_address{0}, guest_address{4095}}) !=
              of_extent({guest_address{4095}, guest_address{0}}));

}  // namespace
