// SPDX-License-Identifier: BSL-1.0
// Permission to discard memory, as the memory sees it: which gate it came from, and whether it was
// granted. Every discard takes one as an argument, so the gate cannot be forgotten.
#pragma once

#include <cstdint>

namespace tether {

template <class Threading>
class discard_gate;

/// Identifies a gate within this process.
enum class gate_id : std::uint32_t { none = 0 };

/// The part of a gate's `permit` that memory looks at. Only a gate makes one.
class discard_permit {
 public:
  discard_permit(discard_permit const&) = delete;
  discard_permit& operator=(discard_permit const&) = delete;

  [[nodiscard]] bool granted() const noexcept { return granted_; }
  /// The gate that granted or refused it.
  [[nodiscard]] gate_id gate() const noexcept { return gate_; }

 private:
  template <class Threading>
  friend class discard_gate;
  explicit discard_permit(gate_id gate) noexcept : gate_{gate} {}
  ~discard_permit() = default;

  gate_id gate_;
  bool granted_ = false;
};

}  // namespace tether
