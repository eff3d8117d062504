// SPDX-License-Identifier: BSL-1.0
// A reader's reference to one view: keeps it and its memory alive, however many commits follow.
#pragma once

#include <tether/topology/flat_view.hpp>
#include <tether/topology/section.hpp>

#include <tether/core/address.hpp>

#include <memory>
#include <utility>

namespace tether {

/// Keeps a view, and all memory that it refers to, alive. Cheap to copy. A block cannot be freed
/// while a guard's view refers to it, so keep one for an operation, not for ever.
class view_guard {
 public:
  /// Requires: `view` is not null.
  explicit view_guard(std::shared_ptr<flat_view const> view) noexcept : view_{std::move(view)} {}

  [[nodiscard]] flat_view const& operator*() const noexcept { return *view_; }
  [[nodiscard]] flat_view const* operator->() const noexcept { return view_.get(); }
  /// All sections, ascending. Lives as long as this guard, so give the guard a name.
  [[nodiscard]] flat_view const& sections() const& noexcept { return *view_; }
  flat_view const& sections() const&& = delete;
  /// The section that `where` lies in, or null. Lives as long as this guard.
  [[nodiscard]] section const* find(guest_address where) const& noexcept {
    return view_->find(where);
  }
  section const* find(guest_address) const&& = delete;
  /// Tells this view from all others, also from a later one at its address, without keeping its
  /// memory alive.
  [[nodiscard]] std::weak_ptr<flat_view const> identity() const noexcept { return view_; }

 private:
  std::shared_ptr<flat_view const> view_;
};

}  // namespace tether
