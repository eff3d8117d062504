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
  actor who = actor::guest;
  std::uint8_t container = 0;
  std::uint8_t group = 0;
  change begins = change::none;  ///< what the caller asks for
  consent agrees = consent::none;
  bool mediated = false;
  act what = act::nothing;  ///< the visible act, `nothing` if the operation ended before any
  outcome how = outcome::done;
  bool undoing = false;
  bool half_way = false;  ///< the replay has mapped the page, still runs, and will fail

  friend constexpr bool operator==(event const&, event const&) noexcept = default;
};

/// A sequence of events.
struct trace {
  static constexpr std::size_t most = 64;
  std::array<event, most> events{};
  std::size_t length = 0;

  constexpr void push(event const& next) noexcept {
    if (length < most) events[length++] = next;
  }
  [[nodiscard]] constexpr event const* begin() const noexcept { return events.data(); }
  [[nodiscard]] constexpr event const* end() const noexcept { return events.data() + length; }
};

}  // namespace tether::proof
