// SPDX-License-Identifier: BSL-1.0
// The events of the model: one visible act of an operation with its outcome, or one action of the
// balloon or the guest.
#pragma once

#include <tether/attach/lifecycle/steps.hpp>
#include <tether/inhibit/membership.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace tether::proof {

/// Who acts. Deflating the balloon is no event of its own: it lets the guest touch the page, which
/// a hostile guest may do anyhow, and changes nothing else.
enum class actor : std::uint8_t {
  container,  ///< continues the operation in progress
  caller,     ///< begins an operation
  abandoner,  ///< releases everything that a diverged container has, and succeeds
  permit,     ///< the gate grants a discard its permit
  discard,    ///< the page is discarded, and the permit ends
  guest,      ///< touches the page
};

/// One event, with what a sentence about it needs.
struct event {
  actor who = actor::guest;        ///< who acts
  std::uint8_t container = 0;      ///< which container
  std::uint8_t group = 0;          ///< which group of it
  change begins = change::none;    ///< what the caller asks for
  consent agrees = consent::none;  ///< the device's consent
  bool mediated = false;           ///< the group is not behind an IOMMU
  act what = act::nothing;         ///< the visible act, `nothing` if the operation ended before any
  outcome how = outcome::done;     ///< how the act ended
  bool undoing = false;            ///< the act is part of a rollback
  bool half_way = false;           ///< the replay has mapped the page, still runs, and will fail

  friend constexpr bool operator==(event const&, event const&) noexcept = default;
};

/// A sequence of events.
template <class Event>
struct basic_trace {
  static constexpr std::size_t most = 64;  ///< events that it can keep
  std::array<Event, most> events{};        ///< the first `length` are there
  std::size_t length = 0;                  ///< how many events

  /// Appends one, if there is room.
  constexpr void push(Event const& next) noexcept {
    if (length < most) events[length++] = next;
  }
  [[nodiscard]] constexpr Event const* begin() const noexcept { return events.data(); }
  [[nodiscard]] constexpr Event const* end() const noexcept { return events.data() + length; }
};
/// The trace of a container.
using trace = basic_trace<event>;

}  // namespace tether::proof
