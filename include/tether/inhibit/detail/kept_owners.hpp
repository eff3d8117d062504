// SPDX-License-Identifier: BSL-1.0
// Owners of holds that outlive the container which took them, until the last use of a device has
// ended. That is on any thread, and perhaps after the gate's own end: then nobody can discard any
// more, and there is nothing to give back.
//
//     owner   container ends |--------------------------| its last use ends: holds given back
//     gate    ------------------------| ends: the holds are dropped, and the owner is told
#pragma once

#include <tether/inhibit/detail/ledger.hpp>

#include <mutex>

namespace tether::detail {

/// One owner. Not movable once it is added.
struct kept_owner {
  /// Drops its entries from the ledger of the gate that ends.
  void (*gate_ends)(kept_owner&, ledger&) noexcept;
  kept_owner* next = nullptr;
  kept_owner** link = nullptr;  ///< the pointer that points here; null: its gate has ended
};

/// Those of one gate. Thread-safe: an owner and its gate may end at once.
class kept_owners {
 public:
  void add(kept_owner& one) noexcept {
    const std::lock_guard lock{changing};
    one.next = first_;
    if (first_ != nullptr) first_->link = &one.next;
    one.link = &first_;
    first_ = &one;
  }
  /// Removes an owner that ends. Calls `give_back` first if its gate is still there, which does not
  /// end meanwhile.
  template <class GiveBack>
  static void remove(kept_owner& one, GiveBack give_back) noexcept {
    const std::lock_guard lock{changing};
    if (one.link == nullptr) return;
    give_back();
    unlink(one);
  }
  /// The gate ends.
  void end(ledger& its) noexcept {
    const std::lock_guard lock{changing};
    while (first_ != nullptr) {
      kept_owner& one = *first_;
      one.gate_ends(one, its);
      unlink(one);
    }
  }

 private:
  static void unlink(kept_owner& one) noexcept {
    *one.link = one.next;
    if (one.next != nullptr) one.next->link = one.link;
    one.link = nullptr;
  }

  inline static constinit std::mutex changing{};  // of all gates: taken before a gate's own lock
  kept_owner* first_ = nullptr;
};

}  // namespace tether::detail
