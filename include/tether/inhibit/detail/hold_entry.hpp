// SPDX-License-Identifier: BSL-1.0
// One entry in the gate's list of holders: a name and a count. The list is intrusive, so taking a
// hold never allocates and never fails for lack of memory.
#pragma once

#include <tether/core/label.hpp>
#include <tether/core/stop.hpp>
#include <tether/inhibit/kinds.hpp>

#include <cstdint>
#include <string_view>

namespace tether::detail {

/// An entry of the intrusive list. Not movable, because the list points to it; starts unlisted with
/// a count of zero. Only the gate changes the count.
class hold_entry {
 public:
  /// `name` is truncated to 47 bytes.
  explicit constexpr hold_entry(std::string_view name) noexcept : name_{name} {}
  hold_entry(hold_entry const&) = delete;
  hold_entry& operator=(hold_entry const&) = delete;
  /// Requires: its count is zero. Otherwise the gate would go on counting it, and its list would
  /// hold a dangling pointer.
  constexpr ~hold_entry() {
    if (count_ != 0)
      stop(
          "tether[I14]: an entry of a gate's list was destroyed while it counted: what it holds "
          "must be given back first");
  }

  [[nodiscard]] constexpr std::string_view name() const noexcept { return name_.view(); }
  [[nodiscard]] constexpr std::uint32_t count() const noexcept { return count_; }
  [[nodiscard]] constexpr entry_kind what() const noexcept { return what_; }

 private:
  friend class ledger;

  label name_;
  hold_entry* next_ = nullptr;
  // the pointer that points here; both are valid only while it is listed
  hold_entry** link_ = nullptr;
  std::uint32_t count_ = 0;
  entry_kind what_ = entry_kind::any_hold;
};

}  // namespace tether::detail
