// SPDX-License-Identifier: BSL-1.0
// An intrusive doubly linked list: joining allocates nothing, and an element that is destroyed
// removes itself, on any thread. For what a container must know of devices that are owned
// elsewhere.
//
//     head <-> device <-> device <-> (head again)
#pragma once

#include <tether/core/detail/process_mark.hpp>
#include <tether/version.hpp>

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
  ~ring_link() {
    if (!made_by_.is_inherited()) leave();
  }

  /// Whether it is in no ring; of a head: whether its ring is empty.
  [[nodiscard]] bool alone() const noexcept {
    const std::lock_guard rings{all_rings_};
    return after_ == this;
  }
  /// Moves this to the end of `head`'s ring, from any other.
  void join(ring_link& head) noexcept {
    const std::lock_guard rings{all_rings_};
    unlink();
    before_ = head.before_;
    after_ = &head;
    before_->after_ = this;
    head.before_ = this;
  }
  /// Removes this from its ring, if it is in one.
  void leave() noexcept {
    const std::lock_guard rings{all_rings_};
    unlink();
  }

  /// Of a head: its first element, or null. Requires: the owner keeps the element alive.
  [[nodiscard]] Element* first() const noexcept {
    const std::lock_guard rings{all_rings_};
    return after_->element_;
  }
  /// Of a head: whether `one` is in its ring.
  [[nodiscard]] bool has(ring_link const& one) const noexcept {
    return any_of([&](Element const& other) noexcept { return &other == one.element_; });
  }
  /// Of a head: whether `matches` holds for an element, evaluated in their order. No element leaves
  /// meanwhile. Requires: `matches` calls no ring.
  template <class Predicate>
  [[nodiscard]] bool any_of(Predicate matches) const noexcept {
    const std::lock_guard rings{all_rings_};
    for (const ring_link* at = after_; at != this; at = at->after_) {
      if (matches(static_cast<Element const&>(*at->element_))) return true;
    }
    return false;
  }

 private:
  void unlink() noexcept {
    before_->after_ = after_;
    after_->before_ = before_;
    before_ = after_ = this;
  }

  inline static std::mutex all_rings_{};
  ring_link* before_ = this;
  ring_link* after_ = this;
  Element* element_ = nullptr;
  process_mark made_by_;
};

}  // namespace tether::detail
