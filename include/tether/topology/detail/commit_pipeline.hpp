// SPDX-License-Identifier: BSL-1.0
// The writing side of an address space, behind `transaction` and `address_space`: one writer at a
// time, its edits, the commit that delivers them to the listeners and publishes, and the listeners'
// registration.
//
//     edits -> new view -> difference -> listeners -> published     (or rolled back)
//
// Readers take another lock, just to copy a pointer, so no commit waits for them.
#pragma once

#include <tether/topology/detail/callback_scope.hpp>
#include <tether/topology/detail/commit_scratch.hpp>
#include <tether/topology/detail/difference.hpp>
#include <tether/topology/detail/listener_table.hpp>
#include <tether/topology/detail/region_table.hpp>
#include <tether/topology/detail/view_builder.hpp>
#include <tether/topology/flat_view.hpp>
#include <tether/topology/memory_listener.hpp>

#include <tether/core/detail/exceptions.hpp>
#include <tether/core/discard_permit.hpp>
#include <tether/core/error.hpp>
#include <tether/core/stop.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

namespace tether::detail {

/// The writing side of one address space. Thread-safe where a comment does not say otherwise.
class commit_pipeline {
 public:
  using view_pointer = std::shared_ptr<flat_view const>;

  commit_pipeline()
      : published_{std::make_shared<flat_view const>()},
        published_now_{published_.get()},
        empty_view_{published_} {}
  commit_pipeline(commit_pipeline const&) = delete;
  commit_pipeline& operator=(commit_pipeline const&) = delete;
  ~commit_pipeline() {
    if (!listeners_.empty() && !listeners_.is_inherited())
      stop(
          "tether[M3]: an address space was destroyed while a listener followed it: destroy "
          "containers, and remove listeners of your own, first",
          listeners_.name_of_first());
  }

  [[nodiscard]] view_pointer published() const noexcept {
    const std::lock_guard reading{reading_};
    return published_;
  }
  /// Whether `view`, kept alive by the caller, is published. No lock: callers may hold later ones.
  [[nodiscard]] bool publishes(flat_view const& view) const noexcept {
    return published_now_.load() == &view;
  }

  /// Waits for the current writer; if that is this thread, it nests. Returns the depth, from 1.
  unsigned lock() noexcept {
    if (callback_scope::runs_for(this))
      stop(
          "tether[M1]: a memory listener changed the address space that was calling it; do so "
          "after the commit");
    if (owner_.load(std::memory_order_relaxed) != this_thread()) {
      writing_.lock();
      owner_.store(this_thread(), std::memory_order_relaxed);
    }
    return ++depth_;
  }
  void unlock() noexcept {
    if (--depth_ != 0) return;
    compulsory_inside_ = false;
    owner_.store(nullptr, std::memory_order_relaxed);
    writing_.unlock();
  }

  // The following may only be called between `lock` and `unlock`.

  [[nodiscard]] unsigned depth() const noexcept { return depth_; }
  /// Whether a compulsory transaction was committed inside the open one: then all of it is
  /// compulsory.
  [[nodiscard]] bool made_compulsory() const noexcept { return compulsory_inside_; }
  void made_compulsory(bool now) noexcept { compulsory_inside_ = now; }
  [[nodiscard]] region_table& regions() noexcept { return regions_; }

  /// RAM over RAM is refused (`ram_overlaps`). Set before there is a second thread.
  bool refuses_overlaps = false;
  /// Publishes the edits, or rolls them back.
  [[nodiscard]] result<commit_report> commit(commit_kind kind) noexcept {
    if (compulsory_inside_) kind = commit_kind::compulsory;
    commit_report report;
    view_pointer next;  // null if the view stays
    const commit_scratch::scope in_use{scratch_};
    auto& [view, change] = scratch_;
    TETHER_TRY {
      view.changed = regions_.changed_extents(std::move(view.changed));
      if (auto made = changed_view(*published_, regions_, view); made) {
        next = std::make_shared<flat_view const>(std::move(*made));
        change.add(*published_, *next);
        if (kind == commit_kind::compulsory) report.fenced.reserve(listeners_.size());
      }
    }
    TETHER_CATCH(...) {
      regions_.roll_back_to(0);
      return failure(error::out_of_memory("commit of the memory map"));
    }
    if (!change.empty()) {
      const callback_scope inside{this};
      if (auto followed = listeners_.deliver(change, kind, report.fenced); !followed) {
        regions_.roll_back_to(0);
        return failure(followed.error());
      }
    }
    report.removed = change.removals.size();
    report.added = change.additions.size();
    for_each_memory(change, [](memory_backing& memory) { memory.generation().begin_edit(); });
    if (next != nullptr) publish(next);  // it is the old view now, and keeps removed memory alive
    for_each_memory(change, [](memory_backing& memory) { memory.generation().end_edit(); });
    regions_.keep();
    return report;
  }

  /// Which gate guards the memory of this space, if any does yet.
  [[nodiscard]] gate_id gate() const noexcept { return gate_; }

  // The following take the lock themselves.

  /// Adds a container or balloon with its gate; the first decides for all. Fails: `other_gate`.
  [[nodiscard]] result<void> guard(gate_id gate) noexcept {
    const write_lock writing{*this};
    bool all_ours = guards_ == 0 || gate == gate_;
    if (guards_ == 0)
      regions_.for_each_owner(
          [&](section_owner const& one) { all_ours = one.guard(gate) && all_ours; });
    if (!all_ours) {
      if (guards_ == 0) unguard_memory();
      return failure(error{"use address space", errc::other_gate}.advise(one_gate));
    }
    gate_ = gate;
    guards_ += 1;
    return {};
  }
  /// Requires: an earlier `guard` that succeeded.
  void unguard() noexcept {
    const write_lock writing{*this};
    if (--guards_ != 0) return;
    gate_ = gate_id::none;
    unguard_memory();
  }

  /// Replays the map to `replay` without the lock: pinning may take seconds (law 20). Changes that
  /// are published meanwhile follow in further rounds, the last of them under the lock; from then
  /// on commits are delivered to `listener`.
  [[nodiscard]] result<void> add(listener_handle listener, int priority,
                                 listener_handle replay) noexcept {
    constexpr int rounds_without_lock = 3;
    write_lock writing{*this};
    if (listeners_.find(listener.object()) != nullptr)
      return failure(error{"add a memory listener", errc::already_there});
    TETHER_TRY { listeners_.insert(listener, priority); }
    TETHER_CATCH(...) { return failure(error::out_of_memory("add a memory listener")); }
    view_pointer known = empty_view_;
    for (int round = 0; published_ != known; ++round) {
      const view_pointer target = published_;
      const bool alone = round >= rounds_without_lock;
      if (!alone) writing.end();
      auto delivered = deliver(replay, *known, *target);
      if (!delivered) {
        const callback_scope inside{this};
        if (!remove_all(listener, *known))
          delivered = failure(delivered.error().with_failed_rollback());
      }
      if (!alone) writing.start();
      if (!delivered) {
        listeners_.erase(listener.object());
        return delivered;
      }
      known = target;
    }
    listeners_.find(listener.object())->now = listener_table::state::enrolled;
    return {};
  }

  /// Removes every section from a listener, without the lock, and unregisters it. Succeeds without
  /// effect if it is not registered. Fails: its own error if it could not follow, but it is
  /// unregistered all the same; `still_in_use` if another thread is adding or removing it.
  [[nodiscard]] result<void> remove(void const* object) noexcept {
    write_lock writing{*this};
    auto* const entry = listeners_.find(object);
    if (entry == nullptr) return {};
    if (entry->now != listener_table::state::enrolled)
      return failure(error{"remove a memory listener", errc::still_in_use}.advise(
          "another thread adds or removes it now"));
    entry->now = listener_table::state::leaving;
    const listener_handle listener = entry->listener;
    const view_pointer known = published_;
    writing.end();
    auto delivered = [&] {
      const callback_scope inside{this};
      return remove_all(listener, *known);
    }();
    writing.start();
    listeners_.erase(object);
    return delivered;
  }

 private:
  /// The writer's lock as a scope, which can be released and taken again.
  class write_lock {
   public:
    explicit write_lock(commit_pipeline& of) noexcept : of_{&of} { start(); }
    write_lock(write_lock const&) = delete;
    write_lock& operator=(write_lock const&) = delete;
    ~write_lock() {
      if (mine_) end();
    }
    void start() noexcept {
      of_->lock();
      mine_ = true;
    }
    void end() noexcept {
      of_->unlock();
      mine_ = false;
    }

   private:
    commit_pipeline* of_;
    bool mine_ = false;
  };

  /// No other living thread's.
  [[nodiscard]] static void const* this_thread() noexcept {
    static thread_local constinit char here = 0;
    return &here;
  }

  void unguard_memory() const noexcept {
    regions_.for_each_owner([](section_owner const& one) { one.unguard(); });
  }

  [[nodiscard]] result<void> deliver(listener_handle listener, flat_view const& from,
                                     flat_view const& to) const noexcept {
    difference change;
    TETHER_TRY { change = difference::between(from, to); }
    TETHER_CATCH(...) { return failure(error::out_of_memory("replay of the memory map")); }
    if (change.empty()) return {};
    const callback_scope inside{this};
    listener.begin(commit_kind::refusable);
    for (section const& one : change.removals) listener.remove(one);
    for (section const& one : change.additions) listener.add(one);
    return listener.commit();
  }

  /// Calls `visit` for the memory of each changed section and edited region, possibly repeatedly:
  /// what was unplugged and plugged in again between two views is not in their difference.
  template <class Visit>
  void for_each_memory(difference const& change, Visit visit) const noexcept {
    for (auto const* sections : {&change.removals, &change.additions}) {
      for (section const& one : *sections)
        if (one.memory != nullptr) visit(*one.memory);
    }
    regions_.for_each_edited_memory(visit);
  }

  /// Leaves the old view in `next`: freeing it may take long, and readers must not wait for that.
  void publish(view_pointer& next) noexcept {
    const std::lock_guard reading{reading_};
    published_.swap(next);
    published_now_ = published_.get();
  }

  std::mutex writing_;
  std::atomic<void const*> owner_{nullptr};  // the thread that has `writing_`
  unsigned depth_ = 0;
  bool compulsory_inside_ = false;
  region_table regions_;
  commit_scratch scratch_;
  gate_id gate_ = gate_id::none;
  std::uint32_t guards_ = 0;  // containers and balloons that use it
  listener_table listeners_;
  mutable std::mutex reading_;
  view_pointer published_;
  std::atomic<flat_view const*> published_now_;
  view_pointer empty_view_;
};

}  // namespace tether::detail
