// SPDX-License-Identifier: BSL-1.0
#include <tether/core/address.hpp>

#include <concepts>
#include <string_view>
#include <type_traits>

using namespace tether;

namespace {

// An address converts neither from a number, nor to one, nor to another space by itself.
static_assert(!std::convertible_to<std::uint64_t, guest_address>);
static_assert(!std::convertible_to<guest_address, std::uint64_t>);
static_assert(!std::constructible_from<io_address, guest_address>);
static_assert(!std::constructible_from<host_address, io_address>);
static_assert(!std::constructible_from<block_offset, guest_address>);
static_assert(!std::assignable_from<io_address&, guest_address>);

template <class A, class B>
concept comparable = requires(A a, B b) { a < b; };
template <class A, class B>
concept subtractable = requires(A a, B b) { a - b; };
static_assert(comparable<io_address, io_address> && !comparable<io_address, guest_address>);
static_assert(subtractable<io_address, io_address> && !subtractable<io_address, guest_address>);

static_assert(sizeof(io_address) == sizeof(std::uint64_t) &&
              std::is_trivially_copyable_v<io_address>);

static_assert(io_address{}.value == 0);
static_assert(io_address{0x1000} + 0x234 == io_address{0x1234});
static_assert(io_address{0x1234} - std::uint64_t{0x234} == io_address{0x1000});
static_assert(io_address{0x3000} - io_address{0x1000} == 0x2000);
static_assert(io_address{1} < io_address{2} && io_address{~std::uint64_t{0}} > io_address{0});
static_assert(io_address{~std::uint64_t{0}} + 1 == io_address{0},
              "arithmetic is modulo 2^64; extents refuse it");
static_assert(io_address{0x3000}.aligned_to(4 * KiB) && !io_address{0x3000}.aligned_to(8 * KiB) &&
              io_address{0}.aligned_to(GiB));
static_assert(io_address{0x1001}.aligned_to(1));

static_assert(KiB == 1024 && MiB == 1024 * 1024 && GiB == 1024ull * 1024 * 1024);
static_assert(std::string_view{name_of(space::io_virtual)} == "I/O virtual" &&
              std::string_view{name_of(space::none)}.empty());
static_assert(io_address::lives_in == space::io_virtual &&
              guest_address::lives_in == space::guest_physical);

}  // namespace
