// SPDX-License-Identifier: BSL-1.0
// Maps sections of divided memory unit by unit, and follows what becomes of their units. Between a
// listener, whose lock is held over each change, and the populations, which call it at any time.
//
//     listener's change --lock--> enrol: map what is populated --> section_mapper
//     somebody discards --try_lock--> unmap that unit ------------^      (busy during a change)
#pragma once

#include <tether/core/detail/unit_rules.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/granule/concepts.hpp>
#include <tether/listen/detail/followed_sections.hpp>
#include <tether/listen/detail/kept_memory.hpp>
#include <tether/listen/detail/section_plan.hpp>
#include <tether/listen/observation.hpp>
#include <tether/listen/progress.hpp>
#include <tether/topology/population.hpp>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string_view>

namespace tether::detail {

/// The lock among those who tell a listener of units, of the kind of the listener's own.
template <class Mutex>
struct telling_lock {
  using type = Mutex;
};
template <class Mutex>
  requires requires { typename Mutex::inner_mutex; }
struct telling_lock<Mutex> {
  using type = typename Mutex::inner_mutex;
};

/// Of one listener. Requires: `Mapper` is its section_mapper, `mutex` its lock, held around every
/// public function.
template <class Mapper, granularity Granularity, class Mutex, class Order>
class unit_mapper {
 public:
  unit_mapper(Mapper& mapper, Mutex& mutex) noexcept : mapper_{mapper}, mutex_{mutex} {}
  unit_mapper(unit_mapper const&) = delete;
  unit_mapper& operator=(unit_mapper const&) = delete;
  ~unit_mapper() { forget_all(); }

  [[nodiscard]] followed_sections<Order>& sections() noexcept { return sections_; }
  [[nodiscard]] followed_sections<Order> const& sections() const noexcept { return sections_; }
  /// Of errors told to who discards.
  void name(std::string_view container) noexcept {
    name_ = container;
    if (!sections_.empty()) rename_sections();
  }
  [[nodiscard]] std::string_view name() const noexcept { return name_; }
  /// A rollback failed, of a unit's change or of another: from now on every change of a unit is
  /// refused (law 6). `divergence` says the first reason, until `forget_all`.
  void diverge(error const& why) noexcept {
    divergence_ = divergence_.value_or(why);
    notify_diverged(mapper_.observer(), why);
  }
  [[nodiscard]] std::optional<error> const& divergence() const noexcept { return divergence_; }

  /// Maps what is populated of a section that a change adds, and follows it. All or nothing.
  template <progress_monitor Monitor>
  [[nodiscard]] result<void> map(section_plan const& plan, population& units,
                                 Monitor& monitor) noexcept {
    followed_section* const one = sections_.add(plan, units);
    if (one == nullptr) return failure(error::out_of_memory("map").of(plan.what.name));
    auto done = map(*one, monitor);
    if (!done) sections_.drop_added(plan.what);
    return done;
  }
  /// As above, for one that is not followed now, although it was: a change is rolled back.
  template <progress_monitor Monitor>
  [[nodiscard]] result<void> map(followed_section& one, Monitor& monitor) noexcept {
    one.how = &calls;
    one.owner = this;
    one.units->rename(one, name_);
    auto done = one.units->enrol(one, near(*one.units), [&]() -> result<void> {
      sections_.note_unmapped(one.plan);
      for (std::uint64_t unit = one.first_unit; unit != one.end_unit(); ++unit) {
        if (!one.units->is_populated(unit)) continue;
        if (auto mapped = map_part(one, unit, unit, monitor); !mapped) {
          const error why = mapped.error();
          const bool undone = !why.rollback_failed() && unmap_all(one);
          if (undone) sections_.note_mapped(one.plan);
          else one.enrolled = true;  // what is still mapped must not be discarded
          return failure(undone ? why : why.with_failed_rollback());
        }
      }
      one.enrolled = true;
      return {};
    });
    if (done) last_ = &one;
    return done;
  }

  /// Unmaps a section and follows it no longer. All or nothing.
  [[nodiscard]] result<void> unmap(followed_section& one) noexcept {
    if (!one.enrolled) return {};
    auto done = one.units->withdraw(one, [&]() -> result<void> {
      one.was_mapped = one.mapped;
      for (std::uint64_t unit = one.first_unit; unit != one.end_unit(); ++unit) {
        if (!one.is_mapped(unit)) continue;
        if (auto gone = unmap_part(one, unit, last_of_run(one, unit)); !gone) {
          const bool undone = map_again(one, unit);
          return undone ? gone : failure(gone.error().with_failed_rollback());
        }
      }
      sections_.note_mapped(one.plan);
      one.enrolled = false;
      return {};
    });
    if (!done) return failure(done.error());
    if (last_ == &one) last_ = static_cast<followed_section*>(*done);
    return {};
  }

  /// Follows nothing any more, and unmaps nothing: the backend was abandoned, or this is destroyed.
  void forget_all() noexcept {
    divergence_.reset();
    sections_.for_each([](followed_section& one) {
      if (one.enrolled) static_cast<void>(one.units->withdraw(one, [] { return result<void>{}; }));
    });
    last_ = nullptr;
    sections_.clear();
  }
  /// What is mapped stays so, also when this is destroyed: `by` keeps it from being discarded.
  void keep_units(kept_memory& by) noexcept {
    sections_.for_each([&by](followed_section& one) {
      for (std::uint64_t unit = one.first_unit; unit != one.end_unit(); ++unit)
        if (one.is_mapped(unit)) by.keep_unit(*one.units, unit);
    });
  }

 private:
  [[gnu::cold, gnu::noinline]] void rename_sections() noexcept {
    sections_.for_each([this](followed_section& one) { one.units->rename(one, name_); });
  }
  /// One that is enrolled with this population, if it is the one that was enrolled last.
  [[nodiscard]] followed_section* near(population const& units) const noexcept {
    return last_ != nullptr && last_->units == &units ? last_ : nullptr;
  }
  [[nodiscard]] section_plan part(followed_section const& one, std::uint64_t first,
                                  std::uint64_t last) const noexcept {
    const extent<block_offset> bytes{one.units->extent_of(first).first,
                                     one.units->extent_of(last).last};
    return part_of<Granularity>(one.plan, bytes, mapper_.sizes());
  }
  template <progress_monitor Monitor>
  result<void> map_part(followed_section& one, std::uint64_t first, std::uint64_t last,
                        Monitor& monitor) noexcept {
    const section_plan some = part(one, first, last);
    auto done = mapper_.map(some, monitor);
    if (!is_mapped_after(true, outcome_of(done))) return done;
    sections_.note_mapped(some);
    for (std::uint64_t unit = first; unit <= last; ++unit) one.is_mapped(unit) = true;
    return done;
  }
  result<void> unmap_part(followed_section& one, std::uint64_t first, std::uint64_t last) noexcept {
    const section_plan some = part(one, first, last);
    if (auto done = mapper_.unmap(some); !done) return done;
    sections_.note_unmapped(some);
    for (std::uint64_t unit = first; unit <= last; ++unit) one.is_mapped(unit) = false;
    return {};
  }
  /// The last of the mapped units from `first` on that one call unmaps. What is mapped read-only is
  /// unmapped as it was mapped: unit by unit.
  [[nodiscard]] std::uint64_t last_of_run(followed_section& one,
                                          std::uint64_t first) const noexcept {
    if (!allows(one.plan.fit.inside.rights, access::write)) return first;
    std::uint64_t end = first + 1;
    while (end != one.end_unit() && one.is_mapped(end)) ++end;
    return end - 1;
  }
  bool unmap_all(followed_section& one) noexcept {
    bool all = true;
    for (std::uint64_t unit = one.first_unit; unit != one.end_unit(); ++unit)
      if (one.is_mapped(unit)) all = unmap_part(one, unit, unit).has_value() && all;
    return all;
  }
  /// Rolls an unmap back that has reached `end`: what was mapped before it is mapped again.
  bool map_again(followed_section& one, std::uint64_t end) noexcept {
    bool all = true;
    unmonitored none;
    for (std::uint64_t unit = one.first_unit; unit != end; ++unit) {
      const bool was = one.was_mapped[static_cast<std::size_t>(unit - one.first_unit)];
      if (!was || one.is_mapped(unit)) continue;
      all = map_part(one, unit, unit, none).has_value() && all;
    }
    return all;
  }

  // What a population calls, without the listener's lock.
  static unit_mapper& of(unit_follower& one) noexcept {
    return *static_cast<unit_mapper*>(one.owner);
  }
  static bool begin(unit_follower& one) noexcept {
    unit_mapper& mine = of(one);
    mine.telling_.lock();
    if (mine.mutex_.try_lock()) return true;
    mine.telling_.unlock();
    return false;
  }
  static void end(unit_follower& one) noexcept {
    unit_mapper& mine = of(one);
    mine.mutex_.unlock();
    mine.telling_.unlock();
  }
  static result<bool> unmap_unit(unit_follower& of_section, extent<block_offset> bytes) noexcept {
    return of(of_section).change_unit(of_section, bytes, false);
  }
  static result<bool> map_unit(unit_follower& of_section, extent<block_offset> bytes) noexcept {
    return of(of_section).change_unit(of_section, bytes, true);
  }
  result<bool> change_unit(unit_follower& of_section, extent<block_offset> bytes,
                           bool map) noexcept {
    auto& one = static_cast<followed_section&>(of_section);
    const std::uint64_t unit = one.units->unit_at(bytes.first);
    const unit_answer answer = answer_of(map, one.is_mapped(unit), divergence_.has_value());
    if (answer == unit_answer::nothing) return false;
    unmonitored none;
    auto done = answer == unit_answer::refuse ? result<void>{failure(refused_since(*divergence_))}
                : map                         ? map_part(one, unit, unit, none)
                                              : unmap_part(one, unit, unit);
    if (done) return true;
    if (done.error().rollback_failed()) diverge(done.error());
    return failure(name_.empty() ? done.error() : done.error().in(name_));
  }
  static void unit_diverges(unit_follower& of_section, error const& why) noexcept {
    of(of_section).diverge(why);
  }
  static constexpr unit_follower::calls calls{&begin, &end, &unmap_unit, &map_unit, &unit_diverges};

  Mapper& mapper_;
  Mutex& mutex_;
  [[no_unique_address]] typename telling_lock<Mutex>::type telling_;
  followed_sections<Order> sections_;
  std::string_view name_{};
  std::optional<error> divergence_{};
  followed_section* last_ = nullptr;  // the one enrolled last, while it is enrolled
};

}  // namespace tether::detail
