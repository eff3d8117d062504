// SPDX-License-Identifier: BSL-1.0
// Whose an object is. A child of a fork has a copy of every object, but what they stand for in the
// kernel is the parent's, and locks that other threads held are never released in the copy: so the
// child's destructors touch none of it, they only close the child's own descriptors, and what it
// asks of them is refused: a kernel object of the parent's would be given the child's memory.
#pragma once

#include <tether/core/detail/process_id.hpp>
#include <tether/core/errc.hpp>
#include <tether/core/error.hpp>

#include <sys/types.h>

namespace tether::detail {

/// The process that made the object which has this. Cost of asking: that of `process_id`.
class process_mark {
 public:
  /// Whether this process has it from its parent, by a fork.
  [[nodiscard]] bool is_inherited() const noexcept { return process_id() != made_by_; }

 private:
  pid_t made_by_ = process_id();
};

/// Why a child may not do this.
[[nodiscard, gnu::cold]] inline error inherited(const char* operation) noexcept {
  return error{operation, errc::stale_handle}.advise(
      "it belongs to the process that forked this one: open another one here");
}

}  // namespace tether::detail
