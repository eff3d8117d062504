// SPDX-License-Identifier: BSL-1.0
// Plans: what an operation of a container consists of, as data. A step carries its compensating
// act, so that a rollback in the wrong order cannot be written down; `planned` derives it, so that
// it cannot be forgotten either.
#pragma once

#include <tether/inhibit/membership.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace tether {

/// The acts. Each is one whole step.
enum class act : std::uint8_t {
  nothing,
  judge,        ///< is this open or attach allowed? changes nothing
  raise_holds,  ///< raise the holds to what the counts need after the change
  lower_holds,  ///< lower the holds to what the counts need now
  populate,  ///< populate the pages that are mapped read-only, before something pins them (law 15)
  acquire,   ///< the backend opens the group, so that KVM can be told of it
  release,   ///< the backend closes the group's descriptor
  add_to_kvm,       ///< the group or device is added to KVM's VFIO device
  remove_from_kvm,  ///< it is removed from KVM's VFIO device
  join,             ///< the backend attaches the group or device: a pin point
  leave,            ///< the backend detaches it
  replay,           ///< map everything, and start following the guest's memory map
  withdraw,         ///< stop following, wait for DMA in flight, unmap everything
  open,             ///< the backend opens the device
  bind,             ///< the device is bound to its I/O address spaces; closing it undoes that
  close,            ///< the backend closes the device
  commit,           ///< apply the change to the counts
};
inline constexpr std::size_t act_count = static_cast<std::size_t>(act::commit) + 1;

/// How an act ends (law 6).
enum class outcome : std::uint8_t {
  done,
  failed,  ///< it left nothing behind
  stuck,   ///< it could not roll back what it had done
};

/// Whether an act can fail.
[[nodiscard]] constexpr bool can_fail(act what) noexcept {
  return what != act::nothing && what != act::lower_holds && what != act::release &&
         what != act::commit;
}

/// The compensating act, which undoes one that was done; `nothing` if none is needed or possible.
[[nodiscard]] constexpr act inverse_of(act what) noexcept {
  switch (what) {
    case act::raise_holds: return act::lower_holds;
    case act::acquire: return act::release;
    case act::add_to_kvm: return act::remove_from_kvm;
    case act::remove_from_kvm: return act::add_to_kvm;
    case act::join: return act::leave;
    case act::leave: return act::join;
    case act::replay: return act::withdraw;
    case act::withdraw: return act::replay;
    case act::open: return act::close;
    default: return act::nothing;
  }
}

/// One step: what to do, and what rolls it back if a later step fails.
struct step {
  act forward = act::nothing;   ///< what is done
  act backward = act::nothing;  ///< what undoes it
};

/// The steps of one operation.
struct plan {
  static constexpr std::size_t most = 8;  ///< steps that a plan can have
  change makes = change::none;            ///< what its `commit` does to the counts
  std::array<step, most> steps{};         ///< in order; `nothing` behind the last

  /// How many steps it has.
  [[nodiscard]] constexpr std::size_t size() const noexcept {
    std::size_t count = 0;
    while (count < most && steps[count].forward != act::nothing) ++count;
    return count;
  }
  /// Whether a step after the one at `index` can fail.
  [[nodiscard]] constexpr bool may_roll_back_after(std::size_t index) const noexcept {
    // `nothing`, behind the last step, cannot fail
    for (std::size_t later = index + 1; later < most; ++later) {
      if (can_fail(steps[later].forward)) return true;
    }
    return false;
  }
};

/// A plan of these acts, each with its compensating act exactly where a later one can fail.
/// Requires: at most `plan::most` acts.
[[nodiscard]] constexpr plan planned(change makes, std::initializer_list<act> acts) noexcept {
  plan made{makes, {}};
  std::size_t count = 0;
  for (const act one : acts) made.steps[count++].forward = one;
  for (std::size_t i = 0; i < count; ++i) {
    if (made.may_roll_back_after(i)) made.steps[i].backward = inverse_of(made.steps[i].forward);
  }
  return made;
}

/// What a container does for its user. The first attach maps; the last detach unmaps.
enum class operation : std::uint8_t {
  attach_first,
  attach_next,
  open,
  close,
  detach_next,
  detach_last
};
inline constexpr std::size_t operations = 6;

}  // namespace tether
