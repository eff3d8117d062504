// SPDX-License-Identifier: BSL-1.0
// The generic memory listener: keeps one backend in step with a guest's memory map, all or nothing. It stands
// alone: `address_space` feeds it, or a VMM's own memory model does.
//
//     sections -> plan and check all -> unmap what went -> map what came
//                        |                    |                 |
//                     refused              failed: the undo_log walks back
#pragma once

#include <tether/backend/concepts.hpp>
#include <tether/core/error.hpp>
#include <tether/granule/concepts.hpp>
#include <tether/granule/edges.hpp>
#include <tether/listen/attendant.hpp>
#include <tether/listen/observation.hpp>
#include <tether/listen/section_mapper.hpp>
#include <tether/listen/section_plan.hpp>
#include <tether/listen/undo_log.hpp>
#include <tether/topology/memory_listener.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <system_error>
#include <vector>

namespace tether {

/// Models `memory_listener`. `Mutex` is held over a commit: the caller's lock around everything that this backend is asked.
/// Requires: backend and mutex outlive it; between `begin` and `commit` one thread.
template <class Backend, granularity Granularity, edges Edges, observation Observation, class Mutex>
class dma_listener {
 public:
  dma_listener(Backend& backend, Mutex& mutex) noexcept : backend_{&backend}, mutex_{&mutex}, mapper_{backend} {}
  dma_listener(dma_listener const&) = delete;
  dma_listener& operator=(dma_listener const&) = delete;
  ~dma_listener() { release_kept_memory(); }

  void begin(commit_kind kind) noexcept {
    kind_ = kind;
    removed_.clear();
    added_.clear();
    out_of_memory_ = false;
  }
  void remove(section const& one) noexcept { remember(removed_, one); }
  /// Makes room for taking it back, too: a withdrawal and an undo need no memory.
  void add(section const& one) noexcept {
    make_room(told_ + added_.size() + 1);
    remember(added_, one);
  }
  [[nodiscard]] result<void> commit() noexcept {
    unattended nobody;
    return commit_attended(nobody);
  }
  /// As `commit`, with someone who is asked before each piece.
  template <attendant Attendant>
  [[nodiscard]] result<void> commit_attended(Attendant& who) noexcept {
    std::lock_guard turn{*mutex_};
    mapper_.refresh_sizes();
    auto followed = kind_ == commit_kind::refusable ? follow_or_refuse(who) : follow_or_fence(who);
    if (followed || kind_ == commit_kind::compulsory) told_ = told_ + added_.size() - std::min(told_ + added_.size(), removed_.size());
    return followed;
  }

  // What stands now. Requires: the mutex is held, or no commit is running.

  [[nodiscard]] mapped_usage usage() const noexcept { return mapper_.usage(); }
  /// Bytes at the edges of mapped sections that devices do not see.
  [[nodiscard]] std::uint64_t trimmed_bytes() const noexcept { return trimmed_; }
  [[nodiscard]] std::vector<left_out_section> const& left_out() const noexcept { return left_out_; }
  /// An undo failed: what is mapped is not known any more, and every change is refused (law 6).
  [[nodiscard]] bool diverged() const noexcept { return divergence_.has_value(); }
  [[nodiscard]] Observation& observer() noexcept { return mapper_.observer(); }

  /// Brings in the pages behind read-only mappings of private memory, before something begins to pin them (law 15): they were there
  /// when they were mapped, and may have been discarded since. Requires: the mutex is held, and a hold is, so that they stay.
  /// Fails: as `memory_backing::populate`, naming the section.
  [[nodiscard]] result<void> populate_read_only() noexcept { return mapper_.populate_read_only(); }

  /// Marks it diverged, for a step beside mapping that could not be undone.
  void diverge(error const& why) noexcept {
    if (!divergence_) divergence_ = why;
    detail::tell_diverged(mapper_.observer(), why);
  }
  /// Never lets go of the memory that devices may still reach, not even when this is destroyed.
  void keep_memory_for_ever() noexcept { kept_.clear(); }
  /// Starts anew. Requires: the backend was abandoned, so nothing is mapped.
  void forget() noexcept {
    mapper_.forget();
    left_out_.clear();
    trimmed_ = 0;
    told_ = 0;
    divergence_.reset();
    release_kept_memory();
  }

 private:
  template <attendant Attendant>
  result<void> follow_or_refuse(Attendant& who) noexcept {
    if (divergence_) return failure(refusal());
    if (out_of_memory_) return failure(no_memory());
    plan_removals();
    if (auto checked = plan_additions(); !checked) return checked;
    undo_log log;
    for (; log.unmapped != removed_.size(); ++log.unmapped) {
      section_plan const& plan = removed_[log.unmapped];
      if (plan.pieces == 0) continue;
      if (auto done = mapper_.unmap(plan); !done) return take_back(log, done.error());
    }
    for (; log.mapped != added_.size(); ++log.mapped) {
      section_plan& plan = added_[log.mapped];
      if (plan.pieces == 0) continue;
      auto done = mapper_.map(plan, who);
      if (done) continue;
      if (!may_be_left_out(plan, done.error())) {
        if (done.error().stuck()) keep_memory(plan);
        return take_back(log, done.error());
      }
      leave_out(plan, done.error());
    }
    if (out_of_memory_) return take_back(log, no_memory());
    finish();
    return {};
  }

  /// A change that happens whatever we say: what cannot be mapped is left out, what cannot be unmapped is kept from being freed.
  template <attendant Attendant>
  result<void> follow_or_fence(Attendant& who) noexcept {
    std::optional<error> first;
    const auto note = [&first](error const& why) { first = first.value_or(why); };
    plan_removals();
    for (section_plan const& plan : removed_) {
      if (plan.pieces == 0) continue;
      auto done = divergence_ ? result<void>{failure(refusal())} : mapper_.unmap(plan);
      if (done) continue;
      keep_memory(plan);
      note(done.error());
    }
    if (first && !divergence_) diverge(*first);
    if (out_of_memory_ && !divergence_) diverge(no_memory());
    if (divergence_) return failure(first.value_or(*divergence_).leaving_things_behind());
    for (section_plan& plan : added_) {
      plan = plan_section<Granularity>(plan.what, mapper_.sizes());
      result<void> done = check_plan<Granularity, Edges>(plan, mapper_.sizes(), backend_->usable_iova());
      if (done && plan.pieces != 0) {
        done = plan.pieces > backend_->free_mappings() ? failure(over_budget(plan, 0)) : mapper_.map(plan, who);
      }
      if (done) {
        if (plan.pieces == 0) leave_out_if_seen(plan);
        continue;
      }
      if (done.error().stuck() || treatment_of(plan.what) != treatment::may_map) note(done.error());
      if (done.error().stuck()) {
        keep_memory(plan);
        diverge(done.error());
        break;
      }
      leave_out(plan, done.error());
    }
    if (out_of_memory_ && !divergence_) diverge(no_memory());
    finish();
    return first ? failure(*first) : result<void>{};
  }

  void plan_removals() noexcept {
    for (section_plan& plan : removed_) {
      plan = plan_section<Granularity>(plan.what, mapper_.sizes());
      if (mapper_.usage().mappings == 0 || is_left_out(plan.what)) plan.pieces = 0;
    }
  }

  /// Refuses up front whatever can be known before the kernel is asked (law 14).
  result<void> plan_additions() noexcept {
    std::uint64_t available = backend_->free_mappings();
    for (section_plan const& plan : removed_) available += std::min(plan.pieces, ~available);  // a backend may know no limit
    for (section_plan& plan : added_) {
      plan = plan_section<Granularity>(plan.what, mapper_.sizes());
      if (auto checked = check_plan<Granularity, Edges>(plan, mapper_.sizes(), backend_->usable_iova()); !checked) {
        if (treatment_of(plan.what) != treatment::may_map) return take_back({}, checked.error());
        leave_out(plan, checked.error());
      } else if (plan.pieces == 0) {
        leave_out_if_seen(plan);
      }
    }
    std::uint64_t left = available;
    for (const bool optional : {false, true})  // what devices must see has first claim
      for (section_plan& plan : added_) {
        if ((treatment_of(plan.what) == treatment::may_map) != optional) continue;
        if (plan.pieces <= left) left -= plan.pieces;
        else if (optional) leave_out(plan, over_budget(plan, 0));
        else return take_back({}, over_budget(plan, block_that_fits(added_, available)));
      }
    return {};
  }

  bool is_left_out(section const& one) const noexcept {
    return std::ranges::any_of(left_out_, [&](left_out_section const& other) { return other.what == one; });
  }
  /// A section that the filter lets through but of which no page is left.
  void leave_out_if_seen(section_plan& plan) noexcept {
    if (treatment_of(plan.what) == treatment::skip) return;
    const error why{"map", errc::not_aligned};
    leave_out(plan, why.at(plan.what.where).of(plan.what.name).advise("the IOMMU's pages are {} bytes", mapper_.sizes().smallest()));
  }
  /// What is not mapped must be remembered, or its removal would unmap a hole: no memory for that refuses the change.
  void leave_out(section_plan& plan, error const& why) noexcept {
    plan.pieces = 0;
    try {
      left_out_.push_back({plan.what, why});
    } catch (std::exception const&) {
      out_of_memory_ = true;
    }
  }

  /// Undoes a refused change. `left_out_` shrinks back, because what was added in this change stands at its end.
  result<void> take_back(undo_log log, error const& why) noexcept {
    const bool undone = log.unwind(
        [&](std::size_t i) {
          if (added_[i].pieces == 0 || mapper_.unmap(added_[i])) return true;
          keep_memory(added_[i]);
          return false;
        },
        [&](std::size_t i) {
          unattended nobody;
          return removed_[i].pieces == 0 || mapper_.map(removed_[i], nobody).has_value();
        });
    std::erase_if(left_out_, [&](left_out_section const& one) { return added_here(one.what); });
    if (undone && !why.stuck()) return failure(why);
    diverge(why);
    return failure(why.leaving_things_behind());
  }
  bool added_here(section const& one) const noexcept {
    return std::ranges::any_of(added_, [&](section_plan const& plan) { return plan.what == one; });
  }

  /// A change has happened: keep the lists and tell the observer.
  void finish() noexcept {
    for (section_plan const& plan : removed_) {
      trimmed_ -= plan.pieces != 0 ? plan.fit.trimmed : 0;
      if (!added_here(plan.what)) std::erase_if(left_out_, [&](left_out_section const& one) { return one.what == plan.what; });
    }
    for (section_plan const& plan : added_) {
      if (plan.pieces != 0 && plan.fit.trimmed != 0) {
        trimmed_ += plan.fit.trimmed;
        detail::tell_trimmed(mapper_.observer(), plan.what, plan.fit.trimmed);
      }
    }
    for (left_out_section const& one : left_out_) {
      if (added_here(one.what)) detail::tell_left_out(mapper_.observer(), one.what, one.why);
    }
  }

  void remember(std::vector<section_plan>& list, section const& one) noexcept {
    try {
      list.push_back({.what = one});
    } catch (std::exception const&) {
      out_of_memory_ = true;
    }
  }

  void make_room(std::size_t sections) noexcept {
    try {
      for (auto* list : {&removed_, &added_})
        if (list->capacity() < sections) list->reserve(std::max(sections, 2 * list->capacity()));
      kept_.reserve(removed_.capacity());  // what cannot be unmapped is kept, also where no memory is left
    } catch (std::exception const&) {
      out_of_memory_ = true;
    }
  }

  static error no_memory() noexcept { return {"follow the memory map", std::make_error_code(std::errc::not_enough_memory)}; }
  error refusal() const noexcept {
    return error{"change mappings", errc::diverged}.of(divergence_->subject()).advise("call abandon()");
  }
  /// The device may still reach it, so it must not be freed. If even that cannot be remembered it is never freed.
  void keep_memory(section_plan const& plan) noexcept {
    plan.what.memory->retain();
    try {
      kept_.push_back(plan.what.memory);
    } catch (std::exception const&) {
    }
  }
  void release_kept_memory() noexcept {
    for (memory_backing* one : kept_) one->release();
    kept_.clear();
  }

  Backend* backend_;
  Mutex* mutex_;
  section_mapper<Backend, Granularity, Observation> mapper_;
  std::vector<section_plan> removed_;
  std::vector<section_plan> added_;
  std::vector<left_out_section> left_out_;
  std::vector<memory_backing*> kept_;
  std::uint64_t trimmed_ = 0;
  std::size_t told_ = 0;  // sections that stand, mapped or left out
  std::optional<error> divergence_;
  commit_kind kind_ = commit_kind::refusable;
  bool out_of_memory_ = false;
};

}  // namespace tether
