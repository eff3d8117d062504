// SPDX-License-Identifier: BSL-1.0
// The owner of a section: reference counted, it keeps the name and the memory of the section's
// region alive. Owned by the placed region and by every view that shows it, so neither disappears
// under a reader or a listener.
#pragma once

#include <tether/core/label.hpp>
#include <tether/topology/detail/referrers.hpp>
#include <tether/topology/detail/section_owner_pointer.hpp>
#include <tether/topology/memory_backing.hpp>

#include <tether/core/discard_permit.hpp>

namespace tether::detail {

/// Retains its memory as long as it lives. Immutable, except for what links it to the memory.
class section_owner {
 public:
  section_owner(label const& name, memory_backing* memory) noexcept
      : as_referrer_{name}, memory_{memory} {
    if (memory_ == nullptr) return;
    memory_->retain();
    memory_->referrers().add(as_referrer_);
  }
  section_owner(section_owner const&) = delete;
  section_owner& operator=(section_owner const&) = delete;
  ~section_owner() {
    unguard();
    if (memory_ == nullptr) return;
    memory_->referrers().remove(as_referrer_);
    memory_->release();
  }

  [[nodiscard]] label const& name() const noexcept { return as_referrer_.name; }
  [[nodiscard]] memory_backing* memory() const noexcept { return memory_; }

  /// Makes `gate` the guard of its memory. Fails (false): another gate guards it. Requires: no
  /// concurrent call of this or `unguard`.
  [[nodiscard]] bool guard(gate_id gate) const noexcept {
    if (memory_ != nullptr && !guarded_) guarded_ = memory_->guard(gate);
    return memory_ == nullptr || guarded_;
  }
  void unguard() const noexcept {
    if (guarded_) memory_->unguard();
    guarded_ = false;
  }

 private:
  mutable referrer as_referrer_;
  memory_backing* memory_;
  mutable bool guarded_ = false;  // changed by the map's writer, and by the last owner's destructor
};

}  // namespace tether::detail
