// SPDX-License-Identifier: BSL-1.0
#include <tether/listen/detail/section_order.hpp>

#include <cstdint>

namespace tether {

using namespace detail;
namespace {

constexpr section at(std::uint64_t first) {
  return {.where = {guest_address{first}, guest_address{first} + 0xfff}};
}
constexpr by_place<section_order> before;

static_assert(before(at(0x1000), at(0x2000)) && !before(at(0x2000), at(0x1000)));
static_assert(!before(at(0x1000), at(0x1000)));
static_assert(before(at(0x1000), guest_address{0x1001}) && !before(guest_address{0x1001}, at(0)));
static_assert(before(at(0), at(~std::uint64_t{0xfff})));

}  // namespace
}  // namespace tether
