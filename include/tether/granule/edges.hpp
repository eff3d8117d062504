// SPDX-License-Identifier: BSL-1.0
// What to do with a section whose ends are not aligned to the IOMMU's pages. The listener fits each
// section once, before a granularity cuts it; only the backend's smallest page matters here, never
// blocks.
//
//     section        |...=============================..|
//     pages      |-------|-------|-------|-------|-------|
//     inside             |=======================|     the rest is `trimmed` (bytes), and reported
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/slots.hpp>

#include <concepts>
#include <cstdint>

namespace tether {

/// How a section fits the IOMMU's pages.
struct fitting {
  /// How it fits.
  enum class verdict : std::uint8_t {
    fits,          ///< whole pages as it is
    trimmed,       ///< whole pages after rounding inward; `trimmed` bytes are left out
    nothing_left,  ///< it contains no whole page
    /// IOVA and HVA have different offsets within a page, so no page can map one to the other
    not_congruent,
  };

  verdict how = verdict::fits;  ///< the verdict
  mapping inside{};             ///< what to map; the raw mapping where nothing can be
  /// bytes that are not mapped: all of them (modulo 2^64) where nothing can be
  std::uint64_t trimmed = 0;

  /// Whether anything is left to map.
  [[nodiscard]] constexpr bool mappable() const noexcept {
    return how == verdict::fits || how == verdict::trimmed;
  }
};

/// Rounds `raw` inward to pages of `smallest_page` bytes. Requires: `smallest_page` is a power of
/// two.
/// Ensures: never wraps, not even for an extent that ends with the last byte of the address space.
[[nodiscard]] constexpr fitting fit_to_pages(mapping const& raw,
                                             std::uint64_t smallest_page) noexcept {
  const std::uint64_t within = smallest_page - 1;
  const auto first = raw.where.first.value;
  const auto last = raw.where.last.value;

  if (((first ^ raw.host.value) & within) != 0)
    return {fitting::verdict::not_congruent, raw, raw.where.size()};

  const std::uint64_t lead = (~first + 1) & within;
  const std::uint64_t tail = (last + 1) & within;
  // Distances to `last` instead of sizes: a size of 2^64 does not fit, a distance always does.
  if (lead > last - first || tail > last - first - lead)
    return {fitting::verdict::nothing_left, raw, raw.where.size()};

  mapping inside = raw;
  inside.where = {raw.where.first + lead, raw.where.last - tail};
  inside.host = raw.host + lead;
  return {lead + tail == 0 ? fitting::verdict::fits : fitting::verdict::trimmed, inside,
          lead + tail};
}

/// A policy for `edges_slot`.
/// Minimal: `refuses(how, is_ram)`: whether a section with this verdict fails the commit, instead
/// of being mapped as far as possible.
/// Laws: `laws/edges.hpp`. RAM that is not congruent is always refused (the device would miss
/// memory that the guest counts on, and no rounding helps); what fits, or is not RAM, never is.
/// Models: `trim_edges`, `refuse_edges`.
template <class E>
concept edges =
    std::same_as<typename E::slot, edges_slot> && requires(fitting::verdict how, bool is_ram) {
      { E::refuses(how, is_ram) } noexcept -> std::same_as<bool>;
    };

/// Rounds inward and reports the bytes. The default.
struct trim_edges {
  using slot = edges_slot;
  [[nodiscard]] static constexpr bool refuses(fitting::verdict how, bool is_ram) noexcept {
    return is_ram && how == fitting::verdict::not_congruent;
  }
};

/// Maps RAM exactly or not at all: for a VMM whose layout is meant to be page-aligned, so that an
/// unaligned end is a mistake.
struct refuse_edges {
  using slot = edges_slot;
  [[nodiscard]] static constexpr bool refuses(fitting::verdict how, bool is_ram) noexcept {
    return is_ram && how != fitting::verdict::fits;
  }
};

static_assert(edges<trim_edges> && edges<refuse_edges>);

}  // namespace tether
