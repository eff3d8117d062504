// SPDX-License-Identifier: BSL-1.0
// The outcome of a request to discard memory. Counts are in frames of 4 KiB, as virtio counts them,
// and every requested frame is in exactly one of them: an auditor can add them up.
#pragma once

#include <tether/core/error.hpp>

#include <cstdint>
#include <optional>

namespace tether {

/// Units: 4 KiB frames, but for `calls`. A stream prints it; `text_of` is in `tether/text.hpp`.
struct discard_report {
  std::uint64_t requested = 0;  ///< frames that the guest named; the sum of the next eight
  std::uint64_t discarded = 0;  ///< the host has the memory back
  /// acknowledged but not discarded: discards are inhibited. Never discarded later instead. Also
  /// frames that are no memory: what is inhibited is not looked up, so that it costs nothing
  std::uint64_t inhibited = 0;
  /// unmapped, or not memory that a guest may discard (registers, ROM, a device's BAR), while
  /// discards are allowed
  std::uint64_t not_ram = 0;
  std::uint64_t partial = 0;  ///< part of a larger host page that is not complete (yet)
  /// part of a unit that is not complete yet, while only coordinated discards are allowed
  std::uint64_t waiting = 0;
  std::uint64_t busy = 0;      ///< a container that maps the unit was at work: not discarded
  std::uint64_t errors = 0;    ///< the host refused; `first_error` says why
  std::uint64_t returned = 0;  ///< the guest deflated them

  /// Not in the sum: frames of earlier requests that were discarded now, because their host page or
  /// unit is complete. So `discarded + completed` frames of memory are the host's again (fewer
  /// where a frame was named twice, or had gone alone before its unit could).
  std::uint64_t completed = 0;
  /// How many times the host was asked to discard.
  std::uint64_t calls = 0;
  /// Units of divided memory that were discarded, and unmapped before by each container that maps
  /// in blocks (`population`). One that pins nothing may map them on: its device then brings new
  /// pages in, which are the CPU's, too.
  std::uint64_t units_discarded = 0;
  /// Units that were brought in and mapped again.
  std::uint64_t units_populated = 0;
  /// Of those, units that some container could not map: its devices fault there.
  std::uint64_t units_fenced = 0;
  /// The first error, if any; the other frames were handled all the same.
  std::optional<error> first_error{};
  /// What would let inhibited frames go, where the balloon is in the way and not a hold alone: a
  /// sentence, or null. Who holds discards down is what the gate says (`discard_gate::status`).
  const char* advice = nullptr;

  /// Whether every requested frame is accounted for. Always true; tests and audits check it.
  [[nodiscard]] bool adds_up() const noexcept {
    return requested ==
           discarded + inhibited + not_ram + partial + waiting + busy + errors + returned;
  }

  discard_report& operator+=(discard_report const& next) noexcept {
    requested += next.requested;
    discarded += next.discarded;
    inhibited += next.inhibited;
    not_ram += next.not_ram;
    partial += next.partial;
    waiting += next.waiting;
    busy += next.busy;
    errors += next.errors;
    returned += next.returned;
    completed += next.completed;
    calls += next.calls;
    units_discarded += next.units_discarded;
    units_populated += next.units_populated;
    units_fenced += next.units_fenced;
    if (!first_error) first_error = next.first_error;
    if (advice == nullptr) advice = next.advice;
    return *this;
  }
  /// Both together.
  [[nodiscard]] friend discard_report operator+(discard_report all,
                                                discard_report const& next) noexcept {
    return all += next;
  }

  /// Counts `frames` that are inhibited, though not if `how` is done.
  void inhibit(std::uint64_t frames, const char* how) noexcept {
    inhibited += frames;
    if (advice == nullptr) advice = how;
  }
  /// Counts `frames` that failed because of `why`.
  void fail(std::uint64_t frames, error const& why) noexcept {
    errors += frames;
    if (!first_error) first_error = why;
  }
};

/// Writes "4 requested: 3 discarded, 1 inhibited": what is not zero, the first error, the advice.
/// Cost: as the error's sentence.
template <template <class, class> class Stream, class Char, class Traits>
  requires requires(Stream<Char, Traits>& to) { to << ""; }
Stream<Char, Traits>& operator<<(Stream<Char, Traits>& to, discard_report const& all) {
  const struct {
    std::uint64_t count;
    const char* what;
  } parts[]{{all.discarded, "discarded"},
            {all.inhibited, "inhibited"},
            {all.not_ram, "not memory"},
            {all.partial, "of pages not complete"},
            {all.waiting, "of units not complete"},
            {all.busy, "busy"},
            {all.errors, "failed"},
            {all.returned, "returned"},
            {all.completed, "of earlier requests discarded"},
            {all.units_discarded, all.units_discarded == 1 ? "unit discarded" : "units discarded"},
            {all.units_populated,
             all.units_populated == 1 ? "unit brought back" : "units brought back"},
            {all.units_fenced, all.units_fenced == 1 ? "unit fenced" : "units fenced"}};
  to << detail::digits{all.requested, 10}.first << " requested";
  const char* before = ": ";
  for (auto const& part : parts) {
    if (part.count == 0) continue;
    to << before << detail::digits{part.count, 10}.first << " " << part.what;
    before = ", ";
  }
  if (all.first_error) to << "; first error: " << *all.first_error;
  if (all.advice != nullptr) to << "; " << all.advice;
  return to;
}

}  // namespace tether
