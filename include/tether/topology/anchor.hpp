// SPDX-License-Identifier: BSL-1.0
// The owner of a section: a reference count that keeps the name and the memory of the region alive which the section was rendered from.
// Held by the placed region and by every view that shows it, so neither goes away under a reader or a listener.
#pragma once

#include <tether/topology/label.hpp>
#include <tether/topology/memory_backing.hpp>

#include <tether/core/discard_permit.hpp>

#include <memory>

namespace tether::detail {

/// Retains its memory as long as it lives. Immutable, but for whose gate guards the memory.
class anchor {
 public:
  anchor(label const& name, memory_backing* memory) noexcept : name_{name}, memory_{memory} {
    if (memory_ != nullptr) memory_->retain();
  }
  anchor(anchor const&) = delete;
  anchor& operator=(anchor const&) = delete;
  ~anchor() {
    unguard();
    if (memory_ != nullptr) memory_->release();
  }

  [[nodiscard]] label const& name() const noexcept { return name_; }
  [[nodiscard]] memory_backing* memory() const noexcept { return memory_; }

  /// Its memory belongs to `gate` from now on. Fails (false): another gate has it. Requires: nobody calls this or `unguard` meanwhile.
  [[nodiscard]] bool guard(gate_id gate) const noexcept {
    if (memory_ != nullptr && !guarded_) guarded_ = memory_->guard(gate);
    return memory_ == nullptr || guarded_;
  }
  void unguard() const noexcept {
    if (guarded_) memory_->unguard();
    guarded_ = false;
  }

 private:
  label name_;
  memory_backing* memory_;
  mutable bool guarded_ = false;  // whoever writes the map changes it, and whoever lets go last
};

/// Shared ownership is right here, and in the views: snapshots are immutable, and whoever lets go of one
/// last, a reader or the writer, is not known in advance.
using anchor_pointer = std::shared_ptr<anchor const>;

}  // namespace tether::detail
