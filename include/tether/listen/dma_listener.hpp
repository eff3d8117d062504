// SPDX-License-Identifier: BSL-1.0
// The generic memory listener: keeps one backend in step with a guest's memory map, all or nothing.
// Usable alone: fed by `address_space`, or by a VMM's own memory model.
//
//     sections -> plan and check all -> unmap what went -> map what came
//                        |                    |                 |
//                     refused              failed: rolled back by the undo_log
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/core/error.hpp>
#include <tether/granule/concepts.hpp>
#include <tether/granule/edges.hpp>
#include <tether/listen/detail/announced_change.hpp>
#include <tether/listen/detail/feed.hpp>
#include <tether/listen/detail/kept_memory.hpp>
#include <tether/listen/detail/section_mapper.hpp>
#include <tether/listen/detail/section_plan.hpp>
#include <tether/listen/detail/undo_log.hpp>
#include <tether/listen/left_out.hpp>
#include <tether/listen/observation.hpp>
#include <tether/listen/progress.hpp>
#include <tether/topology/memory_listener.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

namespace tether {

/// Models `memory_listener`. `Mutex` is held over a commit: the caller's lock around every call
/// into this backend. `Feed` says whether announced changes are validated (`checked_feed`) or
/// trusted (`trusted_feed`, a container's).
///
/// Fed by a VMM's own memory model, a change is: `begin(kind)`; `remove` for each section that
/// goes, once, exactly as it was added (but for its name); `add` for each that comes; `commit`.
/// However announced, removals take effect first, so a section that moves, or whose rights change,
/// is removed and added. What was left out, or could not be followed in a compulsory change, was
/// added all the same, and is removed like any other. A refused change has added and removed
/// nothing. To end, remove everything in a compulsory change.
/// Requires: backend, mutex and memory outlive it; one thread from `begin` to `commit`.
template <class Backend, granularity Granularity, edges Edges, observation Observation, class Mutex,
          class Feed = detail::checked_feed>
class dma_listener {
 public:
  dma_listener(Backend& backend, Mutex& mutex) noexcept
      : backend_{&backend}, mutex_{&mutex}, mapper_{backend} {}
  dma_listener(dma_listener const&) = delete;
  dma_listener& operator=(dma_listener const&) = delete;

  void begin(commit_kind kind) noexcept { change_.begin(kind); }
  void begin_rollback() noexcept { change_.begin_rollback(); }
  void remove(section const& one) noexcept { change_.remove(one); }
  void add(section const& one) noexcept {
    change_.add(one);
    // Reserved now: memory that cannot be unmapped must be kept even when out of memory.
    if (!kept_.reserve(change_.room())) change_.note_out_of_memory();
  }
  /// Fails: what the backend says; whatever can be refused up front (law 14); `not_enough_memory`;
  /// `diverged`; what the feed finds wrong, a `commit` without `begin` too (tether[M4]), which
  /// changes nothing.
  [[nodiscard]] result<void> commit() noexcept {
    unmonitored none;
    return commit_monitored(none);
  }
  /// As `commit`, with a progress monitor that is called before each piece.
  template <progress_monitor Monitor>
  [[nodiscard]] result<void> commit_monitored(Monitor& monitor) noexcept {
    std::lock_guard lock{*mutex_};
    mapper_.refresh_sizes();
    left_out_.begin_change(change_.rolls_back());
    change_.validate();
    auto followed = change_.kind() == commit_kind::refusable ? follow_or_refuse(monitor)
                                                             : follow_or_fence(monitor);
    change_.end(followed || change_.kind() == commit_kind::compulsory);
    return followed || name_.empty() ? followed : failure(followed.error().in(name_));
  }

  /// Names the container: an error of `commit` bears it, so that who has several knows which one
  /// refuses. Requires: the mutex is held, or no commit is running; the name outlives its use.
  void name(std::string_view container) noexcept { name_ = container; }

  // The current state. Requires: the mutex is held, or no commit is running.

  [[nodiscard]] mapped_usage usage() const noexcept { return mapper_.usage(); }
  /// Bytes at the edges of mapped sections that devices do not see.
  [[nodiscard]] std::uint64_t trimmed_bytes() const noexcept { return trimmed_; }
  /// What devices do not see although it is memory, by address. Fails: may throw `std::bad_alloc`.
  [[nodiscard]] std::vector<left_out_section> left_out() const { return left_out_.all(); }
  /// Another number after each change of what is left out.
  [[nodiscard]] std::uint64_t left_out_version() const noexcept { return left_out_.version(); }
  /// A rollback failed: what is mapped is not known any more, and every change is refused (law 6).
  [[nodiscard]] bool diverged() const noexcept { return divergence_.has_value(); }
  [[nodiscard]] Observation& observer() noexcept { return mapper_.observer(); }

  /// Populates the pages behind read-only mappings of private memory, before something pins them
  /// (law 15): they may have been discarded since. Requires: the mutex and a hold are held.
  /// Fails: as `memory_backing::populate`, naming the section.
  [[nodiscard]] result<void> populate_read_only() noexcept { return mapper_.populate_read_only(); }

  /// Marks it diverged: a step other than mapping could not be rolled back.
  void diverge(error const& why) noexcept {
    if (!divergence_) divergence_ = why;
    detail::notify_diverged(mapper_.observer(), why);
  }
  /// Never frees the memory that devices may still reach, not even when this is destroyed.
  void keep_memory_for_ever() noexcept { kept_.keep_for_ever(); }
  /// Forgets all sections. Requires: the backend was abandoned; no change is in progress.
  void reset() noexcept {
    mapper_.reset();
    left_out_.clear();
    trimmed_ = 0;
    divergence_.reset();
    change_.reset();
    kept_.release();
  }

 private:
  template <progress_monitor Monitor>
  result<void> follow_or_refuse(Monitor& monitor) noexcept {
    if (divergence_) return failure(refusal());
    if (auto right = change_.verdict(); !right) return right;
    if (change_.out_of_memory()) return failure(no_memory());
    plan_removals();
    if (auto checked = plan_additions(); !checked) return checked;
    detail::undo_log log;
    for (; log.unmapped != change_.removed().size(); ++log.unmapped) {
      detail::section_plan const& plan = change_.removed()[log.unmapped];
      if (plan.pieces == 0) continue;
      if (auto done = mapper_.unmap(plan); !done) return roll_back(log, done.error());
    }
    for (; log.mapped != change_.added().size(); ++log.mapped) {
      detail::section_plan& plan = change_.added()[log.mapped];
      if (plan.pieces == 0) continue;
      auto done = mapper_.map(plan, monitor);
      if (done) continue;
      if (!detail::may_be_left_out(plan, done.error())) {
        if (done.error().rollback_failed()) kept_.keep(*plan.what.memory);
        return roll_back(log, done.error());
      }
      leave_out(plan, done.error());
    }
    if (change_.out_of_memory()) return roll_back(log, no_memory());
    for (detail::section_plan const& plan : change_.removed()) left_out_.remove(plan.what);
    finish();
    return {};
  }

  /// A compulsory change: what cannot be mapped is left out, memory that cannot be unmapped is kept
  /// from being freed, what the feed rejects is neither unmapped nor mapped.
  template <progress_monitor Monitor>
  result<void> follow_or_fence(Monitor& monitor) noexcept {
    std::optional<error> first;
    const auto note = [&first](error const& why) { first = first.value_or(why); };
    plan_removals();
    for (detail::section_plan const& plan : change_.removed()) {
      if (plan.pieces == 0) continue;
      auto done = divergence_ ? result<void>{failure(refusal())} : mapper_.unmap(plan);
      if (done) continue;
      kept_.keep(*plan.what.memory);
      note(done.error());
    }
    if (first && !divergence_) diverge(*first);
    if (change_.out_of_memory() && !divergence_) diverge(no_memory());
    for (detail::section_plan const& plan : change_.removed()) left_out_.remove(plan.what);
    if (divergence_) {
      left_out_.keep();
      return failure(first.value_or(*divergence_).with_failed_rollback());
    }
    std::uint64_t left = change_.added().empty() ? 0 : backend_->free_mappings();  // a system call
    for (detail::section_plan& plan : change_.added()) {
      if (left_out_.restore(plan.what)) continue;  // as before the change that is rolled back
      plan = detail::plan_section<Granularity>(plan.what, mapper_.sizes());
      result<void> done =
          detail::check_plan<Granularity, Edges>(plan, mapper_.sizes(), backend_->usable_iova());
      if (done && plan.pieces != 0) {
        done =
            plan.pieces > left ? failure(detail::over_budget(plan, 0)) : mapper_.map(plan, monitor);
        if (done) left -= plan.pieces;
      }
      if (done) {
        if (plan.pieces == 0) leave_out_unless_skipped(plan);
        continue;
      }
      if (done.error().rollback_failed() ||
          detail::treatment_of(plan.what) != detail::treatment::may_map)
        note(done.error());
      if (done.error().rollback_failed()) {
        kept_.keep(*plan.what.memory);
        diverge(done.error());
        break;
      }
      leave_out(plan, done.error());
    }
    if (change_.out_of_memory() && !divergence_) diverge(no_memory());
    finish();
    return first ? failure(*first) : change_.verdict();
  }

  void plan_removals() noexcept {
    for (detail::section_plan& plan : change_.removed()) {
      plan = detail::plan_section<Granularity>(plan.what, mapper_.sizes());
      if (mapper_.usage().mappings == 0 || left_out_.was_left_out(plan.what)) plan.pieces = 0;
    }
  }

  /// Refuses up front whatever can be known before the kernel is asked (law 14).
  result<void> plan_additions() noexcept {
    std::uint64_t available = backend_->free_mappings();  // may be unlimited
    for (detail::section_plan const& plan : change_.removed())
      available += std::min(plan.pieces, ~available);
    for (detail::section_plan& plan : change_.added()) {
      plan = detail::plan_section<Granularity>(plan.what, mapper_.sizes());
      if (auto checked = detail::check_plan<Granularity, Edges>(plan, mapper_.sizes(),
                                                                backend_->usable_iova());
          !checked) {
        if (detail::treatment_of(plan.what) != detail::treatment::may_map)
          return roll_back({}, checked.error());
        leave_out(plan, checked.error());
      } else if (plan.pieces == 0) {
        leave_out_unless_skipped(plan);
      }
    }
    const auto too_many = [&](auto& plan, error const& why) { leave_out(plan, why); };
    const auto fits = detail::fit_to_budget(change_.added(), available, too_many);
    return fits ? fits : roll_back({}, fits.error());
  }

  /// Leaves out a section that passes the filter but contains no whole page.
  void leave_out_unless_skipped(detail::section_plan& plan) noexcept {
    if (detail::treatment_of(plan.what) != detail::treatment::skip)
      leave_out(plan, detail::no_whole_page(plan.what, mapper_.sizes()));
  }
  /// What is not mapped must be remembered, or its removal would unmap a hole: if out of memory,
  /// the change is refused.
  void leave_out(detail::section_plan& plan, error const& why) noexcept {
    plan.pieces = 0;
    if (!left_out_.add(plan.what, why)) change_.note_out_of_memory();
  }

  /// Rolls back a refused change.
  result<void> roll_back(detail::undo_log log, error const& why) noexcept {
    const bool undone = log.unwind(
        [&](std::size_t i) {
          if (change_.added()[i].pieces == 0 || mapper_.unmap(change_.added()[i])) return true;
          kept_.keep(*change_.added()[i].what.memory);
          return false;
        },
        [&](std::size_t i) {
          unmonitored none;
          return change_.removed()[i].pieces == 0 ||
                 mapper_.map(change_.removed()[i], none).has_value();
        });
    left_out_.roll_back();
    if (undone && !why.rollback_failed()) return failure(why);
    diverge(why);
    return failure(why.with_failed_rollback());
  }

  /// The change has happened: updates the lists and notifies the observer.
  void finish() noexcept {
    for (detail::section_plan const& plan : change_.removed())
      trimmed_ -= plan.pieces != 0 ? plan.fit.trimmed : 0;
    for (detail::section_plan const& plan : change_.added()) {
      if (plan.pieces == 0) {
        if (auto const* const one = left_out_.added(plan.what))
          detail::notify_left_out(mapper_.observer(), plan.what, one->why);
      } else if (plan.fit.trimmed != 0) {
        trimmed_ += plan.fit.trimmed;
        detail::notify_trimmed(mapper_.observer(), plan.what, plan.fit.trimmed);
      }
    }
    left_out_.keep();
  }

  static error no_memory() noexcept { return error::out_of_memory("follow the memory map"); }
  error refusal() const noexcept {
    return error{"change mappings", errc::diverged}
        .of(divergence_->subject())
        .advise("call abandon()");
  }

  Backend* backend_;
  Mutex* mutex_;
  detail::section_mapper<Backend, Granularity, Observation, typename Feed::order> mapper_;
  detail::announced_change<Feed> change_;
  basic_left_out_list<typename Feed::order> left_out_;
  detail::kept_memory kept_;
  std::uint64_t trimmed_ = 0;
  std::optional<error> divergence_;
  std::string_view name_{};
};

}  // namespace tether
