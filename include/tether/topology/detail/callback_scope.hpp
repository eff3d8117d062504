// SPDX-License-Identifier: BSL-1.0
// Detects reentrancy: a memory listener that edits the address space which is calling it. Each
// thread keeps a stack of the address spaces whose listeners it calls now; the entries live in the
// callers' frames and are linked, so nothing is allocated.
//
//     commit of A { callback_scope } -> listener -> commit of B { callback_scope } -> listener
//                        ^------------- outer_ -----------------'   <- innermost
#pragma once

#include <tether/version.hpp>

namespace tether::detail {

/// A scope in which this thread calls the listeners of one address space. Scopes nest.
class callback_scope {
 public:
  explicit callback_scope(void const* space) noexcept : space_{space}, outer_{innermost} {
    innermost = this;
  }
  callback_scope(callback_scope const&) = delete;
  callback_scope& operator=(callback_scope const&) = delete;
  ~callback_scope() { innermost = outer_; }

  /// Whether this thread is in such a scope of `space`, at whatever depth.
  [[nodiscard]] static bool runs_for(void const* space) noexcept {
    for (auto* one = innermost; one != nullptr; one = one->outer_)
      if (one->space_ == space) return true;
    return false;
  }

 private:
  static inline thread_local callback_scope const* innermost = nullptr;
  void const* space_;
  callback_scope const* outer_;
};

}  // namespace tether::detail
