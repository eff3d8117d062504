// SPDX-License-Identifier: BSL-1.0
// The generic memory listener: keeps one backend in step with a guest's memory map, all or nothing.
//
//     sections -> plan and check all -> unmap what went -> map what came
//                        |                    |                 |
//                     refused              failed: rolled back by the undo_log
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/core/error.hpp>
#include <tether/granule/concepts.hpp>
#include <tether/granule/edges.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/listen/detail/announced_change.hpp>
#include <tether/listen/detail/feed.hpp>
#include <tether/listen/detail/kept_memory.hpp>
#include <tether/listen/detail/mapped_sections.hpp>
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
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace tether {

/// Models `memory_listener`. `Mutex` is held over a commit: the caller's lock around every call
/// into this backend. `Feed`: whether announced changes are validated, or trusted (a container's).
///
/// `dma_listener listener{iommu, mutex}` maps where the guest has it: guest address = IOVA. Alone
/// it asks no gate. A change by a VMM's own memory model is: `begin`; `remove` for each section
/// that goes, once, exactly as it was added (but for its name); `add` for each that comes;
/// `commit`. Removals take effect first, so a section that moves, or whose rights change, is
/// removed and added. What was left out, or not followed in a compulsory change, was added all the
/// same. A refused change has added and removed nothing. Memory that was added cannot be freed
/// until it is removed, or this is destroyed: that unmaps it, or else the memory is never freed.
/// Requires: backend and mutex outlive it; one thread from `begin` to `commit`.
template <class Backend, granularity Granularity = whole_section, edges Edges = trim_edges,
          observation Observation = no_observation, class Mutex = std::mutex,
          class Feed = detail::checked_feed>
class dma_listener {
 public:
  /// Maps into `backend`, under `mutex`. Both must live longer.
  dma_listener(Backend& backend, Mutex& mutex) noexcept
      : backend_{&backend}, mutex_{&mutex}, mapper_{backend, mutex} {}
  dma_listener(dma_listener const&) = delete;
  dma_listener& operator=(dma_listener const&) = delete;
  ~dma_listener() {
    if constexpr (Feed::remembers) {
      begin(commit_kind::compulsory);
      change_.remove_all();
      static_cast<void>(commit());
      if (diverged()) keep_memory_for_ever();
    }
  }

  /// Forgets a change that was begun.
  void begin(commit_kind kind = commit_kind::refusable) noexcept { change_.begin(kind); }
  void begin_rollback() noexcept { change_.begin_rollback(); }
  void remove(section const& one) noexcept { change_.remove(one); }
  void add(section const& one) noexcept {
    change_.add(one);
    // Reserved now: memory that cannot be unmapped must be kept even when out of memory.
    if (!kept_.reserve(change_.room())) change_.note_out_of_memory();
  }
  /// Fails: as `commit` would up front (law 14). Changes nothing. Requires: no change is begun.
  [[nodiscard]] result<void> could_follow(std::span<section const> removals,
                                          std::span<section const> additions) noexcept {
    begin(commit_kind::refusable);
    for (section const& one : removals) remove(one);
    for (section const& one : additions) add(one);
    std::lock_guard lock{*mutex_};
    start();
    const auto could = named(plan_all());
    left_out_.roll_back();
    mapper_.roll_back();
    change_.end(false);
    return could;
  }
  /// Fails: what the backend says; whatever can be refused up front (law 14); not enough memory;
  /// `diverged`; what the feed finds wrong, also a missing `begin` (tether[M4], changing nothing).
  [[nodiscard]] result<void> commit() noexcept {
    unmonitored none;
    return commit_monitored(none);
  }
  /// With a progress monitor that is called before each piece.
  template <progress_monitor Monitor>
  [[nodiscard]] result<void> commit_monitored(Monitor& monitor) noexcept {
    std::lock_guard lock{*mutex_};
    start();
    auto followed = change_.kind() == commit_kind::refusable ? follow_or_refuse(monitor)
                                                             : follow_or_fence(monitor);
    change_.end(followed || change_.kind() == commit_kind::compulsory);
    return named(followed);
  }

  /// Names the container in errors of `commit`. Requires: as the following; it outlives its use.
  void name(std::string_view container) noexcept { mapper_.name(container); }
  [[nodiscard]] std::string_view name() const noexcept { return mapper_.name(); }
  /// What is mapped. Requires, as the following: the mutex is held, or no commit is running.
  [[nodiscard]] mapped_usage usage() const noexcept { return mapper_.usage(); }
  /// Bytes at the edges of mapped sections that devices do not see.
  [[nodiscard]] std::uint64_t trimmed_bytes() const noexcept { return trimmed_; }
  /// What devices do not see although it is memory, by address. Fails: may throw `std::bad_alloc`.
  [[nodiscard]] std::vector<left_out_section> left_out() const { return left_out_.all(); }
  [[nodiscard]] std::uint64_t left_out_count() const noexcept { return left_out_.size(); }
  /// Another number after each change of what is left out; a copy follows as the list says.
  [[nodiscard]] std::uint64_t left_out_version() const noexcept { return left_out_.version(); }
  void update_left_out(left_out_copy& copy) { left_out_.update(copy); }
  /// A rollback failed: what is mapped is not known any more, and every change is refused (law 6).
  [[nodiscard]] bool diverged() const noexcept { return mapper_.divergence().has_value(); }
  [[nodiscard]] Observation& observer() noexcept { return mapper_.observer(); }

  /// Populates the pages behind read-only mappings of private memory, before something pins them
  /// (law 15). Requires: the mutex and a hold are held. Fails: as `memory_backing::populate`.
  [[nodiscard]] result<void> populate_read_only() noexcept { return mapper_.populate_read_only(); }
  /// Marks it diverged: a step other than mapping could not be rolled back.
  void diverge(error const& why) noexcept { mapper_.diverge(why); }
  /// Never frees or discards what devices may still reach, not even when this is destroyed.
  void keep_memory_for_ever() noexcept { take_kept_memory().keep_for_ever(); }
  /// Moves out what keeps it from being freed and discarded.
  [[nodiscard]] detail::kept_memory take_kept_memory() noexcept {
    mapper_.keep_units(kept_);
    return std::move(kept_);
  }
  /// Forgets all sections. Requires: the backend was abandoned; no change is in progress.
  void reset() noexcept {
    mapper_.reset();
    left_out_.clear();
    trimmed_ = 0;
    change_.reset();
    kept_.release();
  }
 private:
  void start() noexcept {
    mapper_.begin_change(change_.rolls_back());
    left_out_.begin_change(change_.rolls_back());
    change_.validate();
  }
  result<void> named(result<void> const& done) const noexcept {
    return done || name().empty() ? done : failure(done.error().in(name()));
  }
  template <progress_monitor Monitor>
  result<void> follow_or_refuse(Monitor& monitor) noexcept {
    if (auto planned = plan_all(); !planned) return roll_back({}, planned.error());
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
  /// Leaves out what cannot be mapped, keeps memory that cannot be unmapped, ignores what is wrong.
  template <progress_monitor Monitor>
  result<void> follow_or_fence(Monitor& monitor) noexcept {
    std::optional<error> first;
    const auto note = [&first](error const& why) { first = first.value_or(why); };
    plan_removals();
    for (detail::section_plan const& plan : change_.removed()) {
      if (plan.pieces == 0) continue;
      auto done = diverged() ? result<void>{failure(refusal())} : mapper_.unmap(plan);
      if (done) continue;
      kept_.keep(*plan.what.memory);
      note(done.error());
    }
    if ((first || change_.out_of_memory()) && !diverged()) diverge(first.value_or(no_memory()));
    for (detail::section_plan const& plan : change_.removed()) left_out_.remove(plan.what);
    if (diverged()) {
      left_out_.keep();
      mapper_.keep(change_.removed());
      return failure(first.value_or(*mapper_.divergence()).with_failed_rollback());
    }
    std::uint64_t left = change_.added().empty() ? 0 : mapper_.free_mappings();  // a system call
    for (detail::section_plan& plan : change_.added()) {
      if (left_out_.restore(plan.what)) continue;  // as before the change that is rolled back
      plan = detail::plan_section<Granularity>(plan.what, mapper_.sizes());
      result<void> done =
          detail::check_plan<Granularity, Edges>(plan, mapper_.sizes(), backend_->usable_iova());
      if (done && plan.pieces > left) done = failure(detail::over_budget(plan, 0));
      if (done && plan.pieces != 0) done = mapper_.map(plan, monitor);
      if (first && detail::counts_locked_memory(*first) && plan.pieces != 0 &&
          (done || detail::counts_locked_memory(done.error())))
        first = first->with_more(detail::charged_bytes_of<Backend>(plan.fit.inside) / KiB);
      if (done) {
        left -= plan.pieces;
        if (plan.pieces == 0 && detail::treatment_of(plan.what) != detail::treatment::skip)
          leave_out(plan, detail::no_whole_page(plan.what, mapper_.sizes()));
        continue;
      }
      if (done.error().rollback_failed() ||
          detail::treatment_of(plan.what) != detail::treatment::may_map)
        note(detail::with_the_rest<Backend>({&plan, 1}, 0, done.error()));
      if (done.error().rollback_failed()) {
        kept_.keep(*plan.what.memory);
        diverge(done.error());
        break;
      }
      leave_out(plan, done.error());
    }
    if (change_.out_of_memory() && !diverged()) diverge(no_memory());
    finish();
    return first ? failure(*first) : change_.verdict();
  }
  void plan_removals() noexcept {
    for (detail::section_plan& plan : change_.removed()) {
      plan = detail::plan_section<Granularity>(plan.what, mapper_.sizes());
      if (mapper_.nothing_mapped() || left_out_.was_left_out(plan.what)) plan.pieces = 0;
    }
  }
  /// Refuses up front whatever can be known before the kernel is asked (law 14).
  result<void> plan_all() noexcept {
    if (diverged()) return failure(refusal());
    if (auto right = change_.verdict(); !right) return right;
    if (change_.out_of_memory()) return failure(no_memory());
    plan_removals();
    std::uint64_t available = change_.added().empty() ? 0 : mapper_.free_mappings();  // or no limit
    for (detail::section_plan const& plan : change_.removed())
      available += std::min(plan.pieces, ~available);
    auto planned = detail::plan_additions<Granularity, Edges>(
        change_.added(), mapper_.sizes(), backend_->usable_iova(), available,
        [&](detail::section_plan& plan, error const& why) { leave_out(plan, why); });
    return planned && change_.out_of_memory() ? failure(no_memory()) : planned;
  }
  /// It must be remembered, or its removal would unmap a hole: no memory refuses the change.
  void leave_out(detail::section_plan& plan, error const& why) noexcept {
    plan.pieces = 0;
    if (!left_out_.add(plan.what, why)) change_.note_out_of_memory();
  }
  result<void> roll_back(detail::undo_log log, error const& cause) noexcept {
    const error why = detail::with_the_rest<Backend>(change_.added(), log.mapped, cause);
    const bool undone = log.unwind(
        [&](std::size_t i) {
          if (change_.added()[i].pieces == 0 || mapper_.unmap_added(change_.added()[i]))
            return true;
          kept_.keep(*change_.added()[i].what.memory);
          return false;
        },
        [&](std::size_t i) {
          return change_.removed()[i].pieces == 0 || mapper_.map_again(change_.removed()[i]);
        });
    left_out_.roll_back();
    mapper_.roll_back();
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
    mapper_.keep(change_.removed());
  }
  static error no_memory() noexcept { return error::out_of_memory("follow the memory map"); }
  error refusal() const noexcept { return detail::refused_since(*mapper_.divergence()); }

  Backend* backend_;
  Mutex* mutex_;
  detail::mapped_sections<Backend, Granularity, Observation, Mutex, typename Feed::order> mapper_;
  detail::announced_change<Feed> change_;
  basic_left_out_list<typename Feed::order> left_out_;
  detail::kept_memory kept_;
  std::uint64_t trimmed_ = 0;
};

}  // namespace tether
