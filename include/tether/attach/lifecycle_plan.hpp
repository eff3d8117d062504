// SPDX-License-Identifier: BSL-1.0
// Plans: what an operation of a container consists of, as data. A step carries the act that undoes it, so that an
// undo in the wrong order cannot be written down; `planned` derives it, so that it cannot be forgotten either.
#pragma once

#include <tether/inhibit/books.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace tether {

/// What can be done. Each is the whole of one step.
enum class act : std::uint8_t {
  nothing,
  judge,     ///< is this opening allowed? touches nothing
  hold,      ///< raise the holds to what the books need after the change
  settle,    ///< lower the holds to what the books need now
  populate,  ///< bring in the pages that are mapped read-only, before something begins to pin them (law 15)
  acquire,   ///< the backend opens the group, so that KVM can be told of it
  release,   ///< the backend lets go of the group's descriptor
  tell,      ///< KVM hears of the group or device
  forget,    ///< KVM forgets it
  join,      ///< the backend takes the group or device in: a pin point
  leave,     ///< the backend lets it go
  replay,    ///< map everything, and follow the guest's memory map
  withdraw,  ///< stop following, wait for DMA in flight, unmap everything
  open,      ///< the backend opens the device
  bind,      ///< the device is bound to its I/O address spaces; closing it takes that back
  close,     ///< the backend closes the device
  commit,    ///< enter the change in the books
};
inline constexpr std::size_t act_count = static_cast<std::size_t>(act::commit) + 1;

/// How an act ends (law 6).
enum class outcome : std::uint8_t {
  done,
  failed,  ///< it left nothing behind
  stuck,   ///< it could not put things back
};

[[nodiscard]] constexpr bool can_fail(act what) noexcept {
  return what != act::nothing && what != act::settle && what != act::release && what != act::commit;
}

/// The compensating act, which undoes one that was done; `nothing` if none is needed or possible.
[[nodiscard]] constexpr act inverse_of(act what) noexcept {
  switch (what) {
    case act::hold: return act::settle;
    case act::acquire: return act::release;
    case act::tell: return act::forget;
    case act::forget: return act::tell;
    case act::join: return act::leave;
    case act::leave: return act::join;
    case act::replay: return act::withdraw;
    case act::withdraw: return act::replay;
    case act::open: return act::close;
    default: return act::nothing;
  }
}

/// One step: what to do, and what takes it back if a later step fails.
struct step {
  act forward = act::nothing;
  act backward = act::nothing;
};

/// The steps of one operation.
struct plan {
  static constexpr std::size_t most = 8;
  change makes = change::none;
  std::array<step, most> steps{};

  [[nodiscard]] constexpr std::size_t size() const noexcept {
    std::size_t count = 0;
    while (count < most && steps[count].forward != act::nothing) ++count;
    return count;
  }
  /// Whether a step after the one at `index` can fail.
  [[nodiscard]] constexpr bool may_turn_back_after(std::size_t index) const noexcept {
    for (std::size_t later = index + 1; later < most; ++later) {  // `nothing`, behind the last step, cannot fail
      if (can_fail(steps[later].forward)) return true;
    }
    return false;
  }
};

/// A plan of these acts, each with its undo exactly where a later one can fail. Requires: at most `plan::most` acts.
[[nodiscard]] constexpr plan planned(change makes, std::initializer_list<act> acts) noexcept {
  plan made{makes, {}};
  std::size_t count = 0;
  for (const act one : acts) made.steps[count++].forward = one;
  for (std::size_t i = 0; i < count; ++i) {
    if (made.may_turn_back_after(i)) made.steps[i].backward = inverse_of(made.steps[i].forward);
  }
  return made;
}

/// What a container does for its user. The first attach maps; the last detach unmaps.
enum class operation : std::uint8_t { attach_first, attach_next, open, close, detach_next, detach_last };
inline constexpr std::size_t operations = 6;

}  // namespace tether
