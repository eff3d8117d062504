// SPDX-License-Identifier: BSL-1.0
// The events of the units' model: one call of a source or of a container, with its outcome.
#pragma once

#include <tether/proof/units/coverage.hpp>
#include <tether/proof/units/machinery.hpp>
#include <tether/proof/units/state.hpp>

#include <cstdint>

namespace tether::proof {

/// One event, with what a sentence about it needs.
struct unit_event {
  bool by_source = false;                              ///< a source acts, else a container
  std::uint8_t who = 0;                                ///< which of them
  source_task source_does = source_task::rest;         ///< the source's task
  follower_task container_does = follower_task::rest;  ///< the container's task
  unit_call what = unit_call::begin;                   ///< the visible call
  std::uint8_t told = 0;                               ///< the container, where a source tells one
  unit_outcome how = unit_outcome::done;               ///< how it ended

  friend constexpr bool operator==(unit_event const&, unit_event const&) noexcept = default;
};

}  // namespace tether::proof
