// SPDX-License-Identifier: BSL-1.0
// What becomes of one unit of divided memory: the decisions alone, over plain values. The
// population, its sources and the containers ask here, and so does the proof (law 28).
#pragma once

#include <tether/version.hpp>

#include <cstdint>

namespace tether::detail {

/// What a population knows of one unit.
struct unit_record {
  std::uint16_t wanted_gone = 0;  ///< by how many sources
  bool present = true;
  bool changing = false;  ///< one thread is discarding or populating it
  /// it is discarded, but a populate got stuck: a container may have it mapped
  bool may_be_mapped = false;
  /// by how many containers that are gone: a device may still reach it, so it is not discarded
  std::uint16_t kept = 0;

  friend constexpr bool operator==(unit_record const&, unit_record const&) noexcept = default;
};

/// What a source's call has to do.
enum class unit_task : std::uint8_t {
  nothing,
  note,    ///< only that the source wants it gone
  forget,  ///< only that the source wanted it gone
  change,  ///< the unit is discarded, or brought in
  refuse,
};
/// Requires of both: nobody is changing the unit. `wanted`: this source wants it gone already.
[[nodiscard]] constexpr unit_task task_of_discard(unit_record now, bool wanted) noexcept {
  if (wanted) return unit_task::nothing;
  if (!now.present) return unit_task::note;
  return now.kept != 0 ? unit_task::refuse : unit_task::change;
}
/// It comes back only when nobody wants it gone any more.
[[nodiscard]] constexpr unit_task task_of_populate(unit_record now, bool wanted) noexcept {
  const bool others_want_it_gone = now.wanted_gone > (wanted ? 1 : 0);
  return now.present || others_want_it_gone ? unit_task::forget : unit_task::change;
}

/// How a change ended, of a unit in one container or in all.
enum class unit_outcome : std::uint8_t {
  done,
  failed,  ///< nothing has changed
  stuck,   ///< it could not be undone: nothing is certain
};
/// What is known of a unit once a populate has ended.
[[nodiscard]] constexpr unit_record after_populate(unit_record now, unit_outcome how) noexcept {
  if (how != unit_outcome::failed) now.may_be_mapped = how == unit_outcome::stuck;
  return now;
}
/// Whether what was brought in is discarded again then.
[[nodiscard]] constexpr bool is_given_back(unit_record now, unit_outcome how) noexcept {
  return how != unit_outcome::done && !now.may_be_mapped;
}

/// Those who tell the followers of a unit, and those who want to change who follows. Neither runs
/// beside the other.
struct telling_and_enrolling {
  std::uint32_t telling = 0;    ///< threads that use the followers
  std::uint32_t enrolling = 0;  ///< threads that want to change the followers, or do
  bool open = false;            ///< one does

  /// Whoever tells does not wait.
  [[nodiscard]] constexpr bool may_tell() const noexcept { return enrolling == 0; }
  [[nodiscard]] constexpr bool may_open() const noexcept { return telling == 0 && !open; }

  friend constexpr bool operator==(telling_and_enrolling const&,
                                   telling_and_enrolling const&) noexcept = default;
};

/// What a container does that is told to map a unit, or to unmap it.
enum class unit_answer : std::uint8_t { nothing, act, refuse };
/// `mapped`: it may have it, or a part of it, mapped. One that has diverged changes nothing.
[[nodiscard]] constexpr unit_answer answer_of(bool told_to_map, bool mapped,
                                              bool diverged) noexcept {
  if (diverged && (told_to_map || mapped)) return unit_answer::refuse;
  return told_to_map == mapped ? unit_answer::nothing : unit_answer::act;
}
/// Whether it may have it mapped after that.
[[nodiscard]] constexpr bool is_mapped_after(bool told_to_map, unit_outcome how) noexcept {
  return how == unit_outcome::stuck || told_to_map == (how == unit_outcome::done);
}

/// Whether a section is followed after a container has tried to map it, and after it has tried to
/// unmap it: as long as anything of it may be mapped.
[[nodiscard]] constexpr bool is_followed_after_mapping(unit_outcome how) noexcept {
  return how != unit_outcome::failed;
}
[[nodiscard]] constexpr bool is_followed_after_unmapping(unit_outcome how) noexcept {
  return how != unit_outcome::done;
}

}  // namespace tether::detail
