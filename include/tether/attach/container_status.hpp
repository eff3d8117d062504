// SPDX-License-Identifier: BSL-1.0
// What a container answers when it is asked for everything at once: what is attached to it, what
// each of that holds down and why, what is mapped. Plain values, which own their names: they may be
// kept, compared and sent elsewhere. Printed by `attach/status.hpp`.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/extent.hpp>
#include <tether/inhibit/kinds.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/listen/mapped_usage.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace tether {

/// A device that is open.
struct device_status {
  std::string name{};              ///< by which it was opened
  consent agrees = consent::none;  ///< whether it agreed to discards when it was opened
  std::uint32_t leases = 0;        ///< outstanding: it is neither closed nor detached meanwhile
  std::int64_t since = 0;          ///< when it was opened: seconds since 1970, UTC

  friend bool operator==(device_status const&, device_status const&) = default;
};

/// A group that is attached; where devices are attached one by one, their IOMMU group.
struct group_status {
  std::string name{};                    ///< by which it was attached
  group_counts counts{};                 ///< its devices, and what is known of their consent
  std::uint32_t holds = 0;               ///< that the gate counts for it alone
  bool unplug_requested = false;         ///< the guest was asked to let go of it
  std::int64_t since = 0;                ///< when it was attached: seconds since 1970, UTC
  std::vector<device_status> devices{};  ///< those that are open, in the order of their opens

  friend bool operator==(group_status const&, group_status const&) = default;
};

/// A container as the last operation or commit that has ended left it. While one is in progress,
/// what it attaches is not yet here; the hold that it took is (`discard_gate::status`).
struct container_status {
  std::string name{};                  ///< its own; without one, what was attached longest ago
  bool pins = false;                   ///< whether its backend can pin at all
  hold_kind forbids = hold_kind::any;  ///< what each of its holds, and of its groups', forbids
  std::uint32_t holds = 0;             ///< that the gate counts for the container as a whole
  container_counts membership{};       ///< how many are attached, and how many need no hold
  bool diverged = false;               ///< a rollback has failed: `abandon` is called for
  mapped_usage mapped{};               ///< as `container::usage`
  std::uint64_t trimmed_bytes = 0;     ///< as `container::trimmed_bytes`
  std::uint64_t left_out = 0;  ///< sections that devices do not see although they are memory
  bool iova_known = true;      ///< false: memory was too short to keep a copy of `usable_iova`
  std::vector<extent<io_address>> usable_iova{};  ///< as `container::usable_iova`
  std::vector<group_status> groups{};             ///< in the order of their attaches

  friend bool operator==(container_status const&, container_status const&) = default;

  /// Of the bytes that are mapped, those that count as pinned: all of them, as soon as anything is
  /// attached of which it is not known that it pins on demand only (law 1).
  [[nodiscard]] std::uint64_t pinned_bytes() const noexcept {
    const bool on_demand = membership.members != 0 && membership.members == membership.need_no_hold;
    return pins && !on_demand ? mapped.bytes : 0;
  }
};

}  // namespace tether
