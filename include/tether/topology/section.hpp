// SPDX-License-Identifier: BSL-1.0
// A section: a run of guest addresses with the same attributes. The address space computes it from
// the regions, or a VMM's own memory model makes it; it is what memory listeners are given.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/detail/quoted.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>

#include <cstdint>
#include <string_view>

namespace tether {

class memory_backing;

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
  extent<guest_address> where{};        ///< the guest's addresses
  memory_backing* memory = nullptr;     ///< what is behind them
  block_offset offset{};                ///< where the first byte lies in it
  region_kind kind = region_kind::ram;  ///< what lies there
  bool read_only = false;               ///< whether the guest may only read it
  /// Whether it stays apart from a neighbour that it could be joined with.
  bool unmergeable = false;
  /// Lives as long as the view that the section came from.
  std::string_view name{};

  /// Whether everything that a listener acts on is equal. The name is not part of it.
  friend constexpr bool operator==(section const& a, section const& b) noexcept {
    return a.where == b.where && a.memory == b.memory && a.offset == b.offset && a.kind == b.kind &&
           a.read_only == b.read_only && a.unmergeable == b.unmergeable;
  }

  /// Where this process sees the first byte. Requires: `memory`, and that
  /// `topology/memory_backing.hpp` is included. A template only so that this header need not.
  template <class Memory = memory_backing>
  [[nodiscard]] host_address host() const noexcept {
    return static_cast<Memory const*>(memory)->host() + offset.value;
  }
  /// What a device may do here.
  [[nodiscard]] constexpr access rights() const noexcept {
    return read_only || kind == region_kind::rom ? access::read : access::read_write;
  }
};

/// The name of a kind: "ram".
[[nodiscard]] constexpr const char* name_of(region_kind kind) noexcept {
  constexpr const char* names[]{"ram", "rom", "mmio", "ram_device", "iommu_window"};
  return names[static_cast<unsigned>(kind)];
}

namespace detail {

/// A stream that takes what a string takes.
template <class Stream>
struct written_to {
  Stream& stream;
  void operator+=(char one) { stream << std::string_view{&one, 1}; }
  void operator+=(std::string_view text) { stream << text; }
};

}  // namespace detail

/// Writes "ram 'dimm' at guest physical [0x0, 0xffff]", and ", read-only" if it is.
template <template <class, class> class Stream, class Char, class Traits>
  requires requires(Stream<Char, Traits>& to) { to << ""; }
Stream<Char, Traits>& operator<<(Stream<Char, Traits>& to, section const& one) {
  to << name_of(one.kind);
  if (!one.name.empty()) {
    to << " ";
    detail::written_to<Stream<Char, Traits>> name{to};
    detail::append_quoted(name, one.name);
  }
  to << " at " << one.where;
  if (one.read_only) to << ", read-only";
  return to;
}

}  // namespace tether
