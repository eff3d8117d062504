// SPDX-License-Identifier: BSL-1.0
// What a source of discards does while a unit cannot be brought back and the guest waits for it
// (law 24): a guest that waits for ever holds its balloon's lock, which its out-of-memory killer
// needs, too.
#pragma once

#include <tether/core/error.hpp>
#include <tether/discard/report.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/unit_source.hpp>

#include <concepts>
#include <cstdint>
#include <ctime>

namespace tether {

/// A policy for that: for how long it is tried again, in milliseconds, while a container is at
/// work, and after any other failure. Then the unit is populated without the containers that
/// cannot map it: their devices fault there, and the report says so.
template <class P>
concept populate_failure_policy =
    std::same_as<decltype(P::busy_milliseconds), const std::uint32_t> &&
    std::same_as<decltype(P::failed_milliseconds), const std::uint32_t>;

/// Waits for containers that are at work (an attach that pins), and fences at once what fails
/// otherwise. The default.
struct fence_device {
  static constexpr std::uint32_t busy_milliseconds = 10'000;
  static constexpr std::uint32_t failed_milliseconds = 0;
};

/// Lets the guest wait for `Milliseconds`, whatever the failure: the host may find memory, or a
/// limit may be raised.
template <std::uint32_t Milliseconds>
struct hold_guest {
  static constexpr std::uint32_t busy_milliseconds = Milliseconds;
  static constexpr std::uint32_t failed_milliseconds = Milliseconds;
};

namespace detail {

/// A value, and not the concept, of which a compiler would explain each operand.
template <class Policy>
inline constexpr bool says_how_long = populate_failure_policy<Policy>;

[[nodiscard]] inline std::uint64_t monotonic_milliseconds() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 +
         static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

/// Brings a unit back, as `Policy` says. `permit()` answers a permit for a coordinated discard.
template <populate_failure_policy Policy, class AskPermit>
void bring_back(unit_source& units, std::uint64_t which, AskPermit permit,
                discard_report& report) noexcept {
  const std::uint64_t begin = monotonic_milliseconds();
  for (;;) {
    auto done = units.populate(which, permit);
    if (done) break;
    const std::uint64_t waited = monotonic_milliseconds() - begin;
    const auto limit =
        is_busy(done.error()) ? Policy::busy_milliseconds : Policy::failed_milliseconds;
    if (waited >= limit) {
      if (auto fenced = units.populate_or_fence(which); !fenced) {
        report.units_fenced += 1;
        if (!report.first_error) report.first_error = fenced.error();
      }
      break;
    }
    const timespec a_moment{.tv_sec = 0, .tv_nsec = 200'000};
    ::nanosleep(&a_moment, nullptr);
  }
  report.units_populated += 1;
}

}  // namespace detail

}  // namespace tether
