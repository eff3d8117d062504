// SPDX-License-Identifier: BSL-1.0
// Recursion into a gate from a visitor of `for_each_holder`, which runs under the gate's mutex: a
// query, and the end of a permit, must not lock the mutex again, and a change stops the program
// (tether[I19]).
#pragma once

#include <tether/version.hpp>

namespace tether::detail {

/// A thread-local stack of the gates, named by their mutexes, whose visitors run on this thread.
class shown_gate {
 public:
  explicit shown_gate(void const* mutex) noexcept : mutex_{mutex}, outer_{innermost} {
    innermost = this;
  }
  shown_gate(shown_gate const&) = delete;
  shown_gate& operator=(shown_gate const&) = delete;
  ~shown_gate() { innermost = outer_; }

  [[nodiscard]] static bool shows(void const* mutex) noexcept {
    for (shown_gate const* one = innermost; one != nullptr; one = one->outer_) {
      if (one->mutex_ == mutex) return true;
    }
    return false;
  }

 private:
  inline static thread_local constinit shown_gate const* innermost = nullptr;
  void const* mutex_;
  shown_gate const* outer_;
};

}  // namespace tether::detail
