// SPDX-License-Identifier: BSL-1.0
// Leave to discard memory, as memory itself sees it: it comes from one gate, and was granted or was not. Memory cannot be discarded
// without one, so nobody can forget to ask.
#pragma once

#include <cstdint>

namespace tether {

template <class Threading>
class discard_gate;

/// Tells one gate from every other of this process.
enum class gate_id : std::uint32_t { none = 0 };

/// What a gate's `permit` is to memory. Only a gate makes one; it lasts as long as the permit.
class discard_permit {
 public:
  discard_permit(discard_permit const&) = delete;
  discard_permit& operator=(discard_permit const&) = delete;

  [[nodiscard]] bool granted() const noexcept { return granted_; }
  /// The gate that was asked.
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
