// SPDX-License-Identifier: BSL-1.0
// Permission to discard memory, as the memory sees it: which gate it came from, and whether it was
// granted. Every discard takes one as an argument, so the gate cannot be forgotten.
#pragma once

#include <tether/version.hpp>

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

  /// Whether the discard may be done.
  [[nodiscard]] bool granted() const noexcept { return granted_; }
  /// The gate that granted or refused it.
  [[nodiscard]] gate_id gate() const noexcept { return gate_; }
  /// Whether it is for a discard that the mappers are told of first: good for units of a
  /// `population` alone.
  [[nodiscard]] bool coordinated() const noexcept { return coordinated_; }

 private:
  template <class Threading>
  friend class discard_gate;
  discard_permit(gate_id gate, bool coordinated) noexcept
      : gate_{gate}, coordinated_{coordinated} {}
  ~discard_permit() = default;

  gate_id gate_;
  bool granted_ = false;
  bool coordinated_;
};

}  // namespace tether
