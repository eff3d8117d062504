// SPDX-License-Identifier: BSL-1.0
// What can happen next: one visible step of an operation and how it ends, or one thing that the balloon or the guest does.
#pragma once

#include <tether/attach/lifecycle_plan.hpp>
#include <tether/inhibit/books.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace tether::proof {

/// Who does something. That the balloon deflates is no event of its own: it lets the guest touch the page, which a hostile guest may
/// do anyhow, and changes nothing else.
enum class actor : std::uint8_t {
  container,  ///< goes on with the operation in progress
  caller,     ///< begins one
  abandoner,  ///< lets go of everything that a container has that diverged, and succeeds
  permit,     ///< a discarder is let in by the gate
  discard,    ///< it discards, and leaves
  guest,      ///< touches the page
};

/// One event, as a sentence needs it.
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
  bool half_way = false;  ///< it has mapped the page and is still at it; it will fail

  friend constexpr bool operator==(event const&, event const&) noexcept = default;
};

/// Events in a row.
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
