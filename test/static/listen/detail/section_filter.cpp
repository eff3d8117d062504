// SPDX-License-Identifier: BSL-1.0
// What becomes of each kind of section, and of a 64-bit BAR that is being sized.
#include <tether/listen/detail/section_filter.hpp>

#include <cstdint>

namespace tether {

using namespace detail;
namespace {

constexpr section of(region_kind kind, std::uint64_t first = 0x1000) {
  return {.where = {guest_address{first}, guest_address{first} + 0xfff}, .kind = kind};
}

static_assert(treatment_of(of(region_kind::ram)) == treatment::map);
static_assert(treatment_of(of(region_kind::rom)) == treatment::map);
static_assert(treatment_of(of(region_kind::ram_device)) == treatment::may_map);
static_assert(treatment_of(of(region_kind::mmio)) == treatment::skip);
static_assert(treatment_of(of(region_kind::iommu_window)) == treatment::refuse);

constexpr std::uint64_t bit_63 = std::uint64_t{1} << 63;
static_assert(treatment_of(of(region_kind::ram_device, bit_63)) == treatment::skip);
static_assert(treatment_of(of(region_kind::ram_device, bit_63 - 0x1000)) == treatment::may_map);
static_assert(treatment_of(of(region_kind::mmio, bit_63)) == treatment::skip);
// What the guest takes for memory is never left out in silence.
static_assert(treatment_of(of(region_kind::ram, bit_63)) == treatment::map);
static_assert(treatment_of(of(region_kind::rom, bit_63 + 0x1000)) == treatment::map);
static_assert(treatment_of(of(region_kind::iommu_window, bit_63)) == treatment::refuse);
static_assert(treatment_of(of(region_kind::ram, ~std::uint64_t{0xfff})) == treatment::map);

}  // namespace
}  // namespace tether
