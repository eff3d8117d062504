// SPDX-License-Identifier: BSL-1.0
// A list whose links lie in its elements: joining allocates nothing, and an element that dies takes itself out. For
// what a container must know of devices that are owned elsewhere.
//
//     head <-> device <-> device <-> (head again)
#pragma once

namespace tether::detail {

/// One link of a ring. `Element` is what it is a part of; the head of a ring is a link of no element.
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

  [[nodiscard]] bool alone() const noexcept { return after_ == this; }
  /// Puts this into the ring of `head`, wherever it was before.
  void join(ring_link& head) noexcept {
    leave();
    before_ = head.before_;
    after_ = &head;
    before_->after_ = this;
    head.before_ = this;
  }
  void leave() noexcept {
    before_->after_ = after_;
    after_->before_ = before_;
    before_ = after_ = this;
  }

  /// Of a head: its first element, or null.
  [[nodiscard]] Element* first() const noexcept { return after_->element_; }
  /// Of a head: whether `one` is in its ring.
  [[nodiscard]] bool has(ring_link const& one) const noexcept {
    const ring_link* at = after_;
    while (at != this && at != &one) at = at->after_;
    return at != this;
  }
  /// Of an element: the one behind it, or null.
  [[nodiscard]] Element* next() const noexcept { return after_->element_; }

 private:
  ring_link* before_ = this;
  ring_link* after_ = this;
  Element* element_ = nullptr;
};

}  // namespace tether::detail
