// SPDX-License-Identifier: BSL-1.0
// RAII handles of a gate: holds, requirements, suspensions. Move-only, named, released by the
// destructor. For users and for other inhibitors (a confidential guest, a vhost backend); a
// container keeps entries of its own instead.
#pragma once

#include <tether/core/error.hpp>
#include <tether/fwd.hpp>
#include <tether/inhibit/detail/hold_entry.hpp>

#include <string_view>
#include <utility>

namespace tether {

/// One count in a gate. `Role` only makes the three handles distinct types.
/// Requires: the gate outlives it.
template <class Threading, class Role>
class [[nodiscard]] scoped_entry {
 public:
  scoped_entry(scoped_entry&& other) noexcept
      : gate_{std::exchange(other.gate_, nullptr)}, entry_{other.entry_.name()} {
    if (gate_ != nullptr) gate_->relocate(other.entry_, entry_);
  }
  scoped_entry& operator=(scoped_entry&& other) noexcept {
    if (this != &other) {
      release();
      gate_ = std::exchange(other.gate_, nullptr);
      if (gate_ != nullptr) gate_->relocate(other.entry_, entry_);
    }
    return *this;
  }
  ~scoped_entry() { release(); }

  /// Releases it now; later calls do nothing.
  void release() noexcept {
    if (gate_ != nullptr) std::exchange(gate_, nullptr)->give_back(entry_);
  }
  [[nodiscard]] std::string_view name() const noexcept { return entry_.name(); }

 private:
  friend class discard_gate<Threading>;
  scoped_entry(discard_gate<Threading>& gate, std::string_view name) noexcept
      : gate_{&gate}, entry_{name} {}

  discard_gate<Threading>* gate_;
  detail::hold_entry entry_;
};

/// A guard, or the error. Testing a temporary is deleted: the guard would end with the condition,
/// before what it guards.
template <class Guard>
class [[nodiscard]] guard_or_error : public result<Guard> {
 public:
  using result<Guard>::result;
  [[nodiscard]] explicit operator bool() const& noexcept { return this->has_value(); }
  explicit operator bool() const&& = delete;
};

/// While it lives, the discards that it forbids do not run.
template <class Threading>
using hold = scoped_entry<Threading, struct hold_role>;
/// While it lives, no hold can forbid the discards that it needs.
template <class Threading>
using requirement = scoped_entry<Threading, struct requirement_role>;
/// While it lives, permits answer *inhibited*.
template <class Threading>
using suspension = scoped_entry<Threading, struct suspension_role>;

}  // namespace tether
