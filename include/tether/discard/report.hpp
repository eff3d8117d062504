// SPDX-License-Identifier: BSL-1.0
// The outcome of a request to discard memory. Counts are in frames of 4 KiB, as virtio counts them,
// and every requested frame is in exactly one of them: an auditor can add them up.
#pragma once

#include <tether/core/error.hpp>

#include <cstdint>
#include <optional>

namespace tether {

/// Units: 4 KiB frames, but for `calls`.
struct discard_report {
  std::uint64_t requested = 0;  ///< frames that the guest named; the sum of the next six
  std::uint64_t discarded = 0;  ///< the host has the memory back
  /// acknowledged but not discarded: discards are inhibited. Never discarded later instead
  std::uint64_t inhibited = 0;
  /// unmapped, or not memory that a guest may discard (registers, ROM, a device's BAR)
  std::uint64_t not_ram = 0;
  std::uint64_t partial = 0;   ///< part of a larger host page that is not complete (yet)
  std::uint64_t errors = 0;    ///< the host refused; `first_error` says why
  std::uint64_t returned = 0;  ///< the guest deflated them

  /// Not in the sum: frames of earlier requests that were discarded now, because their host page is
  /// complete. So `discarded + completed` frames of memory are the host's again (fewer where a
  /// frame was named twice).
  std::uint64_t completed = 0;
  /// How many times the host was asked to discard.
  std::uint64_t calls = 0;
  /// The first error, if any; the other frames were handled all the same.
  std::optional<error> first_error{};

  /// Whether every requested frame is accounted for. Always true; tests and audits check it.
  [[nodiscard]] bool adds_up() const noexcept {
    return requested == discarded + inhibited + not_ram + partial + errors + returned;
  }

  discard_report& operator+=(discard_report const& next) noexcept {
    requested += next.requested;
    discarded += next.discarded;
    inhibited += next.inhibited;
    not_ram += next.not_ram;
    partial += next.partial;
    errors += next.errors;
    returned += next.returned;
    completed += next.completed;
    calls += next.calls;
    if (!first_error) first_error = next.first_error;
    return *this;
  }
  [[nodiscard]] friend discard_report operator+(discard_report all,
                                                discard_report const& next) noexcept {
    return all += next;
  }

  /// Counts `frames` that failed because of `why`.
  void fail(std::uint64_t frames, error const& why) noexcept {
    errors += frames;
    if (!first_error) first_error = why;
  }
};

}  // namespace tether
