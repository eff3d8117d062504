// SPDX-License-Identifier: BSL-1.0
// The reductions that keep the state space small, and why each of them loses no counterexample:
//
//   symmetry          a group or container equal to an earlier one has equivalent successors
//   invisible act     reads and changes only the container's own counts, and they decide its
//                     outcome: so it runs together with the act before it
//   independent act   can fail, but pins and unpins nothing, and nobody else sees it: others act
//                     only after it. It stays an event of its own, because its outcomes differ
//
// The latter two are partial-order reduction.
#pragma once

#include <tether/attach/lifecycle/steps.hpp>
#include <tether/core/attachment.hpp>

#include <cstddef>

namespace tether::proof {

/// Whether a group, or a container, equals an earlier one of the same array.
template <class State, std::size_t Size>
[[nodiscard]] constexpr bool symmetric_to_earlier(State const (&all)[Size],
                                                  std::size_t at) noexcept {
  for (std::size_t i = 0; i < at; ++i) {
    if (all[i] == all[at]) return true;
  }
  return false;
}

/// Whether an act is invisible in every state. Of the others, so is `judge`, and so are
/// `raise_holds` and `lower_holds` where there is nothing to raise or lower (`transition.hpp`).
[[nodiscard]] constexpr bool invisible_act(act what) noexcept {
  return what == act::nothing || what == act::commit || what == act::release;
}

/// Whether an act is independent of all that others can do. Opening a device is where devices are
/// attached one by one, because a device cannot pin before it has joined.
template <attach_unit Unit>
[[nodiscard]] constexpr bool independent_act(act what) noexcept {
  return what == act::acquire || what == act::add_to_kvm || what == act::remove_from_kvm ||
         what == act::bind || (Unit == attach_unit::device && what == act::open);
}

}  // namespace tether::proof
