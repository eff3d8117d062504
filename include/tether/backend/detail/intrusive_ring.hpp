// SPDX-License-Identifier: BSL-1.0
// An intrusive doubly linked list: joining allocates nothing, and an element that is destroyed
// removes itself, on any thread. For what a container must know of devices that are owned
// elsewhere.
//
//     head <-> device <-> device <-> (head again)
#pragma once

#include <mutex>

namespace tether::detail {

/// One link of a ring (a circular list). `Element` is the type that it is a member of; the head of
/// a ring is a link without an element.
/// Thread-safe: one lock for all rings of this type, because an element may outlive its head;
/// nothing else is waited for while it is held.
/// Invariant: a link that is alone points to itself.
template <class Element>
class ring_link {
 public:
  /// A head.
  ring_link() noexcept = default;
  explicit ring_link(Element& element) noexcept : element_{&element} {}
  ring_link(ring_link const&) = delete;
  ring_link& operator=(ring_link const&) = delete;
  ~ring_link() { leave(); }

  [[nodiscard]] bool alone() const noexcept {
    const std::lock_guard rings{all_rings_};
    return after_ == this;
  }
  /// Moves this to the end of `head`'s ring, from any other.
  void join(ring_link& head) noexcept {
    const std::lock_guard rings{all_rings_};
    take_out();
    before_ = head.before_;
    after_ = &head;
    before_->after_ = this;
    head.before_ = this;
  }
  void leave() noexcept {
    const std::lock_guard rings{all_rings_};
    take_out();
  }

  /// Of a head: its first element, or null. Requires: its owner keeps it alive.
  [[nodiscard]] Element* first() const noexcept {
    const std::lock_guard rings{all_rings_};
    return after_->element_;
  }
  /// Of a head: whether `one` is in its ring.
  [[nodiscard]] bool has(ring_link const& one) const noexcept {
    return any_of([&](Element const& other) noexcept { return &other == one.element_; });
  }
  /// Of a head: whether `is` holds for an element, evaluated in their order. None of them leaves
  /// meanwhile. Requires: `is` calls no ring.
  template <class Is>
  [[nodiscard]] bool any_of(Is is) const noexcept {
    const std::lock_guard rings{all_rings_};
    for (const ring_link* at = after_; at != this; at = at->after_) {
      if (is(static_cast<Element const&>(*at->element_))) return true;
    }
    return false;
  }

 private:
  void take_out() noexcept {
    before_->after_ = after_;
    after_->before_ = before_;
    before_ = after_ = this;
  }

  inline static std::mutex all_rings_{};
  ring_link* before_ = this;
  ring_link* after_ = this;
  Element* element_ = nullptr;
};

}  // namespace tether::detail
