// SPDX-License-Identifier: BSL-1.0
// Which sections devices see. The listener's first check of each.
#pragma once

#include <tether/topology/section.hpp>

#include <cstdint>

namespace tether::detail {

/// How a section is treated.
enum class treatment : std::uint8_t {
  skip,     ///< devices never see it: emulated registers, a BAR being sized
  map,      ///< devices must see it, or the change is refused
  may_map,  ///< devices see it if the IOMMU can map it: another device's BAR
  refuse,   ///< tether cannot map it (yet)
};

/// Cost: a few instructions; pure.
[[nodiscard]] constexpr treatment treatment_of(section const& one) noexcept {
  // A 64-bit BAR that is being sized shows up here for a moment, far above anything that can be
  // mapped. Memory of the guest's up there is no such thing: it is mapped, refused or left out as
  // anywhere else.
  constexpr std::uint64_t sizing_artefact = std::uint64_t{1} << 63;
  switch (one.kind) {
    case region_kind::ram:
    case region_kind::rom: return treatment::map;
    case region_kind::ram_device:
      return (one.where.first.value & sizing_artefact) != 0 ? treatment::skip : treatment::may_map;
    case region_kind::iommu_window: return treatment::refuse;
    case region_kind::mmio: break;
  }
  return treatment::skip;
}

}  // namespace tether::detail
