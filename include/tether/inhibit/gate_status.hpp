// SPDX-License-Identifier: BSL-1.0
// What a gate answers when it is asked for everything at once: who holds discards down, who demands
// them, and what that means for the next discard. Printed by `attach/status.hpp`.
#pragma once

#include <tether/core/label.hpp>
#include <tether/inhibit/kinds.hpp>

#include <cstdint>
#include <vector>

namespace tether {

/// One entry of a gate's list: a copy of its `holder_info`.
struct holder_status {
  label name{};                            ///< who it is
  entry_kind what = entry_kind::any_hold;  ///< what it holds down, or demands
  std::uint32_t count = 0;                 ///< how often

  friend bool operator==(holder_status const&, holder_status const&) noexcept = default;
};

/// A gate as it was at one moment.
struct gate_status {
  gate_counts counts{};                  ///< how many of each kind there are
  std::vector<holder_status> holders{};  ///< latest first; their counts add up to `counts`

  friend bool operator==(gate_status const&, gate_status const&) = default;

  /// Whether a permit for such a discard was to be had.
  [[nodiscard]] bool allows(discard_kind kind) const noexcept { return counts.allow(kind); }
};

}  // namespace tether
