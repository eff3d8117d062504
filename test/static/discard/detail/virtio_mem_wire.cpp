// SPDX-License-Identifier: BSL-1.0
#include <tether/discard/detail/virtio_mem_wire.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace static_discard_detail_virtio_mem_wire {

using namespace tether::detail;

constexpr std::array<std::byte, 24> a_request{
    std::byte{1},    std::byte{0},    std::byte{0xff}, std::byte{0xff}, std::byte{0xff},
    std::byte{0xff}, std::byte{0xff}, std::byte{0xff}, std::byte{0x88}, std::byte{0x77},
    std::byte{0x66}, std::byte{0x55}, std::byte{0x44}, std::byte{0x33}, std::byte{0x22},
    std::byte{0x11}, std::byte{0x02}, std::byte{0x80}, std::byte{0xff}, std::byte{0xff},
    std::byte{0xff}, std::byte{0xff}, std::byte{0xff}, std::byte{0xff}};

constexpr auto read = virtio_mem_request::from(a_request);
static_assert(read.type == 1);
static_assert(read.first == 0x1122'3344'5566'7788);
static_assert(read.blocks == 0x8002);
static_assert(virtio_mem_request::bytes == sizeof a_request);

// what is written is read again
template <class Number>
constexpr bool comes_back(Number number) {
  std::array<std::byte, sizeof(Number)> wire{};
  write_little_endian(std::span<std::byte>{wire}, number);
  return read_little_endian<Number>(wire) == number &&
         wire[0] == static_cast<std::byte>(number & 0xff);
}
static_assert(comes_back(std::uint16_t{0xfedc}));
static_assert(comes_back(std::uint64_t{0xfedc'ba98'7654'3210}));

// Source: virtio 1.2, 5.15.4 and 5.15.6
static_assert(virtio_mem_response_bytes == 10);
static_assert(virtio_mem_config_bytes == 56);

}  // namespace static_discard_detail_virtio_mem_wire
