// SPDX-License-Identifier: BSL-1.0
// Translates a guest address (GPA) to host memory that may be discarded; every discard goes through
// here. Addresses are untrusted input from the guest, and are validated here.
#pragma once

#include <tether/core/address.hpp>
#include <tether/topology/detail/section_owner.hpp>
#include <tether/topology/flat_view.hpp>
#include <tether/topology/section.hpp>

#include <cstdint>

namespace tether::detail {

/// Whether a guest may discard this memory. ROM must not be changed by it; a BAR is not memory.
[[nodiscard]] inline bool may_be_discarded(section const& one) noexcept {
  return one.kind == region_kind::ram && !one.read_only && one.memory != nullptr &&
         one.memory->kind() != memory_kind::device;
}

/// Looks up guest addresses in one view. Guests list adjacent frames one after the other, so the
/// section found last is tried first.
/// Requires: the view outlives it.
class guest_memory {
 public:
  explicit guest_memory(flat_view const& view) noexcept : view_{view}, at_{view.end_position()} {}

  /// The section that `where` lies in, or null. Cost: logarithmic, or constant where it is the same
  /// as last time.
  [[nodiscard]] section const* find(guest_address where) noexcept {
    if (at_ != view_.end_position() && view_.at(at_).where.contains(where)) return &view_.at(at_);
    at_ = view_.first_ending_at_or_after(where);
    return at_ != view_.end_position() && view_.at(at_).where.contains(where) ? &view_.at(at_)
                                                                              : nullptr;
  }
  /// As `find`, but only if all of `what` lies in that one section, and may be discarded.
  [[nodiscard]] section const* find_discardable(extent<guest_address> what) noexcept {
    section const* const one = find(what.first);
    return one != nullptr && one->where.contains(what) && may_be_discarded(*one) ? one : nullptr;
  }
  /// Calls `visit(section const&)` for each section that overlaps `what`.
  template <class Visit>
  void for_each_in(extent<guest_address> what, Visit visit) noexcept {
    static_cast<void>(find(what.first));
    for (auto at = at_; at != view_.end_position() && view_.at(at).where.first <= what.last;
         at = view_.after(at))
      visit(view_.at(at));
  }
  /// What keeps the memory of the section found last alive. Requires: one was found.
  [[nodiscard]] section_owner_pointer const& owner() const noexcept { return view_.owner_at(at_); }

 private:
  flat_view const& view_;
  flat_view::position at_;
};

/// Where a guest address of the section lies in its block. Requires: `one.where.contains(where)`.
[[nodiscard]] inline std::uint64_t offset_in_block(section const& one,
                                                   guest_address where) noexcept {
  return one.offset.value + (where - one.where.first);
}

}  // namespace tether::detail
