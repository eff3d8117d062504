// SPDX-License-Identifier: BSL-1.0
// A link of an intrusive list, the newest first: joining allocates nothing, and leaving needs no
// search. Its lock is the list's owner's matter; `intrusive_ring` has one of its own.
//
//     newest --> element --> older element --> null
#pragma once

#include <tether/version.hpp>

#include <utility>

namespace tether::detail {

/// `Element` derives from it, and lets it convert.
template <class Element>
class list_link {
 public:
  list_link() noexcept = default;
  list_link(list_link const&) = delete;
  list_link& operator=(list_link const&) = delete;

  /// Becomes the first of a list, given by the pointer to its first. Requires: it is in none.
  void join(Element*& newest) noexcept {
    pointer_to_it_ = &newest;
    older_ = std::exchange(newest, static_cast<Element*>(this));
    if (older_ != nullptr) older_->list_link::pointer_to_it_ = &older_;
  }
  /// Leaves its list, if it is in one.
  void leave() noexcept {
    if (pointer_to_it_ == nullptr) return;
    *pointer_to_it_ = older_;
    if (older_ != nullptr) older_->list_link::pointer_to_it_ = pointer_to_it_;
    pointer_to_it_ = nullptr;
  }
  /// The next of its list, null at the end. Requires: it is in one.
  [[nodiscard]] Element* older() const noexcept { return older_; }

 private:
  Element* older_ = nullptr;
  Element** pointer_to_it_ = nullptr;  ///< null: it is in no list
};

}  // namespace tether::detail
