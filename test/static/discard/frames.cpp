// SPDX-License-Identifier: BSL-1.0
#include <tether/discard/frames.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

using namespace tether;

namespace {

// A frame number is unsigned, and frames are 4 KiB whatever the host's page is.
static_assert(frame_address(0) == guest_address{0});
static_assert(frame_address(1) == guest_address{0x1000});
static_assert(frame_address(0x80000000) == guest_address{std::uint64_t{1} << 43},
              "not sign-extended");
static_assert(frame_address(0xffffffff) == guest_address{0xffffffff000});
static_assert(frame_extent(2) ==
              extent<guest_address>{guest_address{0x2000}, guest_address{0x2fff}});
static_assert(frame_extent(0xffffffff).last == guest_address{0xfffffffffff});

constexpr auto bytes = [] {
  std::array<std::byte, 11> all{};
  const std::array<unsigned, 11> values{0x78, 0x56, 0x34, 0x12, 0x00, 0x00,
                                        0x00, 0x80, 0xff, 0xff, 0xff};
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::byte>(values[i]);
  return all;
}();

static_assert(little_endian_frames{bytes}.size() == 2, "three bytes too many are no number");
static_assert(little_endian_frames{bytes}[0] == 0x12345678);
static_assert(little_endian_frames{bytes}[1] == 0x80000000);
static_assert(little_endian_frames{std::span{bytes}.first(3)}.size() == 0);
static_assert(little_endian_frames{{}}.size() == 0);

constexpr std::array<std::uint32_t, 2> numbers{7, 0xffffffff};
static_assert(host_order_frames{numbers}.size() == 2 &&
              host_order_frames{numbers}[1] == 0xffffffff);

}  // namespace
