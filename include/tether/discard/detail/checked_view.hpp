// SPDX-License-Identifier: BSL-1.0
// The flat view that frames are looked up in, with the edit generations of its blocks: records of
// inflated frames outlive the view, and are valid within one generation of a block only.
#pragma once

#include <tether/topology/address_space.hpp>
#include <tether/topology/flat_view.hpp>
#include <tether/topology/memory_backing.hpp>
#include <tether/topology/view_guard.hpp>

#include <cstdint>
#include <optional>

namespace tether::detail {

/// The memory map at construction, for the duration of one batch. Requires: the address space
/// outlives it.
class checked_view {
 public:
  explicit checked_view(address_space const& guest) noexcept : guest_{guest}, view_{guest.view()} {}

  [[nodiscard]] flat_view const& operator*() const noexcept { return *view_; }
  [[nodiscard]] view_guard const& guard() const noexcept { return view_; }

  /// The generation of `block` that this view shows; nullopt where an edit may have concerned the
  /// block since the view was taken: then a newer view is needed. Requires: the view shows the
  /// block.
  /// Cost: reads one word of the block asked about last, three of another one.
  [[nodiscard]] std::optional<std::uint64_t> generation_of(memory_backing& block) noexcept {
    const std::uint64_t now = block.generation().number();
    if (block_ == &block && generation_ == now) return now;
    if (block.generation().edit_under_way() || !guest_.is_current(view_)) return std::nullopt;
    block_ = &block;
    generation_ = now;
    return now;
  }

 private:
  address_space const& guest_;
  view_guard view_;
  memory_backing const* block_ = nullptr;
  std::uint64_t generation_ = 0;
};

}  // namespace tether::detail
