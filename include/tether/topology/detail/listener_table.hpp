// SPDX-License-Identifier: BSL-1.0
// The listeners of an address space, in order of priority, and how a change is delivered to them:
//
//     asked      ascending            if one could not follow a refusable change, none is told
//     begin      ascending            (lower priority first)
//     removals   descending for each
//     additions  ascending for each
//     commit     ascending; if one refuses a refusable change, the inverse goes to the others
#pragma once

#include <tether/topology/detail/difference.hpp>
#include <tether/topology/flat_view.hpp>
#include <tether/topology/memory_listener.hpp>
#include <tether/topology/section.hpp>

#include <tether/core/detail/process_mark.hpp>
#include <tether/core/error.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace tether::detail {

/// A type-erased reference to a memory listener; itself a model of `memory_listener`.
class listener_handle {
 public:
  template <memory_listener L>
    requires(!std::same_as<L, listener_handle>)
  explicit listener_handle(L& listener) noexcept : object_{&listener}, calls_{&calls_of<L>} {}

  void begin(commit_kind kind) noexcept { calls_->begin(object_, kind); }
  /// `begin(compulsory)` where the listener has no `begin_rollback`.
  void begin_rollback() noexcept { calls_->begin_rollback(object_); }
  void remove(section const& one) noexcept { calls_->remove(object_, one); }
  void add(section const& one) noexcept { calls_->add(object_, one); }
  [[nodiscard]] result<void> commit() noexcept { return calls_->commit(object_); }
  /// Success where the listener has no `could_follow`.
  [[nodiscard]] result<void> could_follow(std::span<section const> removals,
                                          std::span<section const> additions) noexcept {
    return calls_->could_follow(object_, removals, additions);
  }

  [[nodiscard]] void const* object() const noexcept { return object_; }
  /// Its name, if it has one (`name()`).
  [[nodiscard]] std::string_view name() const noexcept { return calls_->name(object_); }

 private:
  struct calls {
    void (*begin)(void*, commit_kind) noexcept;
    void (*begin_rollback)(void*) noexcept;
    void (*remove)(void*, section const&) noexcept;
    void (*add)(void*, section const&) noexcept;
    result<void> (*commit)(void*) noexcept;
    result<void> (*could_follow)(void*, std::span<section const>,
                                 std::span<section const>) noexcept;
    std::string_view (*name)(void*) noexcept;
  };
  template <class L>
  static constexpr calls calls_of{
      [](void* listener, commit_kind kind) noexcept { static_cast<L*>(listener)->begin(kind); },
      [](void* listener) noexcept {
        if constexpr (rolls_back<L>) static_cast<L*>(listener)->begin_rollback();
        else static_cast<L*>(listener)->begin(commit_kind::compulsory);
      },
      [](void* listener, section const& one) noexcept { static_cast<L*>(listener)->remove(one); },
      [](void* listener, section const& one) noexcept { static_cast<L*>(listener)->add(one); },
      [](void* listener) noexcept -> result<void> { return static_cast<L*>(listener)->commit(); },
      []([[maybe_unused]] void* listener, [[maybe_unused]] std::span<section const> removals,
         [[maybe_unused]] std::span<section const> additions) noexcept -> result<void> {
        if constexpr (foretells<L>)
          return static_cast<L*>(listener)->could_follow(removals, additions);
        else return {};
      },
      [](void* listener) noexcept -> std::string_view {
        if constexpr (requires(L const& that) { std::string_view{that.name()}; })
          return static_cast<L const*>(listener)->name();
        else return static_cast<void>(listener), std::string_view{};
      },
  };

  void* object_;
  calls const* calls_;
};

/// Removes every section of `view` from one listener. Never allocates, so a roll-back may call it.
[[nodiscard]] inline result<void> remove_all(listener_handle from, flat_view const& view) noexcept {
  if (view.empty()) return {};
  from.begin(commit_kind::compulsory);
  for (section const& one : view) from.remove(one);
  return from.commit();
}

/// The table, sorted by priority. Not thread-safe.
class listener_table {
 public:
  /// Commits are delivered to `enrolled` listeners only; a thread is adding or removing the others.
  enum class state : std::uint8_t { joining, enrolled, leaving };
  struct entry {
    listener_handle listener;
    int priority;
    state now;
    bool followed;  ///< the change that is being delivered, so far
  };

  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  /// Whether this is the copy that a child of a fork has.
  [[nodiscard]] bool is_inherited() const noexcept { return made_by_.is_inherited(); }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  /// Requires: not empty.
  [[nodiscard]] std::string_view name_of_first() const noexcept {
    return entries_.front().listener.name();
  }
  [[nodiscard]] entry* find(void const* object) noexcept {
    for (entry& one : entries_)
      if (one.listener.object() == object) return &one;
    return nullptr;
  }
  /// Inserts it behind those of the same priority. Fails: throws `std::bad_alloc`; then nothing has
  /// changed.
  void insert(listener_handle listener, int priority) {
    const auto at = std::find_if(entries_.begin(), entries_.end(),
                                 [&](entry const& one) { return one.priority > priority; });
    entries_.insert(at, entry{listener, priority, state::joining, false});
  }
  void erase(void const* object) noexcept {
    std::erase_if(entries_, [&](entry const& one) { return one.listener.object() == object; });
  }

  /// Delivers a change to all enrolled listeners. A refused refusable change is rolled back, and
  /// the first error returned; a refused compulsory one stays, and each refusal goes into `fenced`.
  /// None is told of a refusable one that a listener refuses beforehand. A single listener is not
  /// asked: its `commit` refuses before it does anything. Listeners of a parent process are told
  /// nothing, and the change is refused.
  /// Requires: `fenced` has capacity for `size()` more.
  [[nodiscard]] result<void> deliver(difference const& change, commit_kind kind,
                                     std::vector<error>& fenced) noexcept {
    std::size_t told = 0;
    for (entry& one : entries_) {
      one.followed = one.now == state::enrolled;
      told += one.followed ? 1U : 0U;
    }
    if (told != 0 && is_inherited()) return failure(inherited("commit of the memory map"));
    if (kind == commit_kind::refusable && told > 1) {
      for (entry& one : entries_) {
        if (!one.followed) continue;
        if (auto could = one.listener.could_follow(change.removals, change.additions); !could)
          return could;
      }
    }
    for (entry& one : entries_)
      if (one.followed) one.listener.begin(kind);
    deliver_to_all(change.removals, change.additions);
    std::optional<error> first;
    bool rollback_failed = false;
    for (entry& one : entries_) {
      if (!one.followed) continue;
      auto done = one.listener.commit();
      if (done) continue;
      one.followed = false;
      if (kind == commit_kind::compulsory) {
        fenced.push_back(done.error());
        continue;
      }
      rollback_failed |= done.error().rollback_failed();
      if (!first) first = done.error();
    }
    if (!first) return {};

    // The roll-back is compulsory: what was added will be in no view, so it must not stay mapped.
    for (entry& one : entries_)
      if (one.followed) one.listener.begin_rollback();
    deliver_to_all(change.additions, change.removals);
    for (entry& one : entries_)
      if (one.followed && !one.listener.commit()) rollback_failed = true;
    return failure(rollback_failed ? first->with_failed_rollback() : *first);
  }

 private:
  void deliver_to_all(std::span<section const> removals,
                      std::span<section const> additions) noexcept {
    for (section const& gone : removals)
      for (std::size_t i = entries_.size(); i-- > 0;)
        if (entries_[i].followed) entries_[i].listener.remove(gone);
    for (section const& fresh : additions)
      for (entry& one : entries_)
        if (one.followed) one.listener.add(fresh);
  }

  std::vector<entry> entries_;
  process_mark made_by_;
};

}  // namespace tether::detail
