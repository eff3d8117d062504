// SPDX-License-Identifier: BSL-1.0
// Binds an address space to one gate while a balloon or a container uses it. With two gates over
// one guest, each would permit discards that the other's holds forbid: the CPU would see one page,
// the device another.
//
//     balloon   --+
//     container --+-- guarded_space --> address_space --> the memory of its regions:
//                                                         this gate's permits alone
#pragma once

#include <tether/topology/address_space.hpp>

#include <tether/core/detail/process_mark.hpp>
#include <tether/core/discard_permit.hpp>
#include <tether/core/error.hpp>

namespace tether::detail {

/// Registers its owner as a user of the space through `gate`. Requires: the space outlives it.
class guarded_space {
 public:
  /// Waits until no other thread has a transaction open.
  guarded_space(address_space const& space, gate_id gate) noexcept
      : space_{space}, guarded_{space.writer_.guard(gate)} {}
  guarded_space(guarded_space const&) = delete;
  guarded_space& operator=(guarded_space const&) = delete;
  ~guarded_space() {
    if (guarded_ && !kept_ && !is_inherited()) space_.writer_.unguard();
  }
  /// Whether its owner is the parent's, in a child of a fork, where a lock that another thread held
  /// is never released.
  [[nodiscard]] bool is_inherited() const noexcept { return made_by_.is_inherited(); }
  /// Another gate is never let in: what this owner has pinned stays so after its end.
  void keep_for_ever() noexcept { kept_ = true; }

  /// Fails: `other_gate` if the space, or a block that is placed there, is guarded by another gate.
  /// Then nothing may be discarded or pinned through it.
  [[nodiscard]] result<void> const& usable() const noexcept { return guarded_; }

 private:
  address_space const& space_;
  result<void> guarded_;
  bool kept_ = false;
  process_mark made_by_;
};

}  // namespace tether::detail
