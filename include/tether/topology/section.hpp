// SPDX-License-Identifier: BSL-1.0
// A section: a run of guest addresses with the same attributes. The address space computes it from
// the regions, or a VMM's own memory model makes it; it is what memory listeners are given.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>
#include <tether/topology/memory_backing.hpp>

#include <cstdint>
#include <string_view>

namespace tether {

/// What lies at a guest address.
enum class region_kind : std::uint8_t {
  ram,           ///< memory that guest and devices read and write
  rom,           ///< memory that the guest only reads
  mmio,          ///< an emulated device's registers: never mapped
  ram_device,    ///< another device's BAR: mapped if the IOMMU can
  iommu_window,  ///< addresses that a virtual IOMMU translates
};

/// Units: bytes. Invariant: `where` need not be page-aligned; `memory` is null exactly for mmio and
/// iommu_window; `offset` is where the section's first byte lies in `memory`.
struct section {
  extent<guest_address> where{};
  memory_backing* memory = nullptr;
  block_offset offset{};
  region_kind kind = region_kind::ram;
  bool read_only = false;
  bool unmergeable = false;
  /// Lives as long as the view that the section came from.
  std::string_view name{};

  /// Whether everything that a listener acts on is equal. The name is not part of it.
  friend constexpr bool operator==(section const& a, section const& b) noexcept {
    return a.where == b.where && a.memory == b.memory && a.offset == b.offset && a.kind == b.kind &&
           a.read_only == b.read_only && a.unmergeable == b.unmergeable;
  }

  /// Where this process sees the first byte. Requires: `memory`.
  [[nodiscard]] host_address host() const noexcept { return memory->host() + offset.value; }
  /// What a device may do here.
  [[nodiscard]] constexpr access rights() const noexcept {
    return read_only || kind == region_kind::rom ? access::read : access::read_write;
  }
};

}  // namespace tether
