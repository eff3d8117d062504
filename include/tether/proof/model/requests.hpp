// SPDX-License-Identifier: BSL-1.0
// The operations that a caller may request of a container at rest, as in
// `attach/detail/group_operations.hpp` and `attach/detail/device_operations.hpp`.
#pragma once

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/attach/lifecycle/steps.hpp>
#include <tether/core/attachment.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/proof/model/reduction.hpp>
#include <tether/proof/model/state.hpp>

#include <cstddef>
#include <cstdint>

namespace tether::proof {

/// One request: the operation whose plan runs, and what it concerns.
struct request {
  operation runs = operation::attach_first;  ///< whose plan
  change makes = change::none;               ///< what it does to the counts
  std::size_t group = 0;                     ///< which group
  consent agrees = consent::none;            ///< the device's consent
  bool mediated = false;                     ///< the group is not behind an IOMMU

  friend constexpr bool operator==(request const&, request const&) noexcept = default;
};

/// The requests that a container of this abstraction accepts.
template <class Abstraction, class Scope>
class requests {
  static constexpr bool of_groups = Abstraction::unit == attach_unit::group;

 public:
  /// Calls `visit(request)` for each request, of symmetric groups for the first only, until it
  /// returns false; returns whether it never did. Requires: the container is at rest.
  template <class Visit>
  static constexpr bool for_each(container_state<Scope> const& container, Visit&& visit) {
    const std::uint32_t members = container.counts().members;
    const operation attach = members == 0 ? operation::attach_first : operation::attach_next;
    for (std::size_t at = 0; at < Scope::groups; ++at) {
      if (symmetric_to_earlier(container.groups, at)) continue;
      group_state const& group = container.groups[at];
      const bool last = members == 1 && (of_groups || group.counts.open() == 1);
      const operation detach = last ? operation::detach_last : operation::detach_next;
      if (of_groups ? !of_group(group, at, attach, detach, visit)
                    : !of_device(group, at, attach, detach, visit))
        return false;
    }
    return true;
  }

 private:
  template <class Visit>
  static constexpr bool of_group(group_state const& group, std::size_t at, operation attach,
                                 operation detach, Visit& visit) {
    const bool mediated = group.mediated;
    if (!group.counts.attached)
      return either_kind(group, {attach, change::attach, at, consent::none}, visit);
    const std::uint32_t open = group.declining + group.consenting;
    if (open == 0 && !visit(request{detach, change::detach, at, consent::none, mediated}))
      return false;
    for (const consent agrees : {consent::none, consent::given}) {
      if (open < Scope::devices &&
          !visit(request{operation::open, change::open, at, agrees, mediated}))
        return false;
      if (open_with(group, agrees) != 0 &&
          !visit(request{operation::close, change::close, at, agrees, mediated}))
        return false;
    }
    return true;
  }
  template <class Visit>
  static constexpr bool of_device(group_state const& group, std::size_t at, operation attach,
                                  operation detach, Visit& visit) {
    for (const consent agrees : {consent::none, consent::given}) {
      if (group.declining + group.consenting < Scope::devices &&
          !either_kind(group, {attach, change::attach_device, at, agrees}, visit))
        return false;
      if (open_with(group, agrees) != 0 &&
          !visit(request{detach, change::detach_device, at, agrees, group.mediated}))
        return false;
    }
    return true;
  }
  /// Whether a group is mediated is decided when the group or its first device attaches: both cases
  /// are requested, except that without pins every group counts as mediated.
  template <class Visit>
  static constexpr bool either_kind(group_state const& group, request asked, Visit& visit) {
    asked.mediated = group.mediated;
    if (group.joined || group.declining + group.consenting != 0) return visit(asked);
    asked.mediated = false;
    if (Abstraction::pins && !visit(asked)) return false;
    asked.mediated = true;
    return visit(asked);
  }
  [[nodiscard]] static constexpr std::uint32_t open_with(group_state const& group,
                                                         consent agrees) noexcept {
    return agrees == consent::given ? group.consenting : group.declining;
  }
};

}  // namespace tether::proof
