// SPDX-License-Identifier: BSL-1.0
// Answers from a container's records: names, what handles can be made of, the whole as a status.
// All of them require that the records' lock is held.
#pragma once

#include <tether/attach/container_status.hpp>
#include <tether/attach/detail/published.hpp>
#include <tether/attach/detail/records.hpp>
#include <tether/core/label.hpp>

#include <cstdint>
#include <vector>

namespace tether::detail {

/// What handles to groups name, in the order of the attaches. Fails: may throw `std::bad_alloc`.
template <class Groups>
[[nodiscard]] std::vector<handle_ids> every_group(Groups const& groups) {
  std::vector<handle_ids> all;
  for (auto const& group : groups) all.push_back({.group = group.id});
  return all;
}
/// The same of devices: of one group, or (0) of all.
template <class Groups>
[[nodiscard]] std::vector<handle_ids> every_device(Groups const& groups, std::uint64_t of) {
  std::vector<handle_ids> all;
  for (auto const& group : groups) {
    if (of != 0 && group.id != of) continue;
    for (auto const& one : group.devices) all.push_back({group.id, one.id});
  }
  return all;
}
/// The name of a group, or of a device of it; empty if it is gone.
template <class Groups>
[[nodiscard]] label name_of(Groups const& groups, handle_ids what) noexcept {
  for (auto const& group : groups) {
    if (group.id != what.group) continue;
    if (what.device == 0) return label{group.name};
    for (auto const& one : group.devices) {
      if (one.id == what.device) return label{one.name};
    }
  }
  return {};
}

/// Copies all that is published, and all records. Fails: may throw `std::bad_alloc`.
template <class Groups>
void copy_status(published const& from, Groups const& groups, container_status& to) {
  to.holds = from.holds;
  to.membership = from.counts;
  to.diverged = from.diverged;
  to.mapped = from.usage;
  to.trimmed_bytes = from.trimmed_bytes;
  to.left_out = from.left_out_count;
  to.iova_known = from.lists_complete;
  if (to.iova_known) to.usable_iova = from.usable_iova;
  for (auto const& group : groups) {
    group_status& one = to.groups.emplace_back();
    one.name = group.name;
    one.counts = group.published.counts;
    one.holds = group.published.holds;
    one.unplug_requested = group.unplug_requested;
    one.since = group.since;
    for (auto const& device : group.devices)
      one.devices.push_back({device.name, device.agrees, device.leases.out(), device.since});
  }
}

}  // namespace tether::detail
