// SPDX-License-Identifier: BSL-1.0
// The calls that a `recording` backend received, in order, with their outcomes, and the faults to
// inject. An object of its own, so that a test keeps it after the container that used it has gone.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tether {

/// The calls of a backend that may fail. `classify` has no side effects and is not among them.
enum class backend_call : std::uint8_t {
  map,
  unmap,
  join,
  leave,
  open,
  close,
  quiesce,
  abandon,
  acquire,
  bind,
};

/// The name of a call, as in `concepts.hpp`.
[[nodiscard]] constexpr const char* name_of(backend_call what) noexcept {
  constexpr const char* names[]{"map",   "unmap",   "join",    "leave",   "open",
                                "close", "quiesce", "abandon", "acquire", "bind"};
  return names[static_cast<std::size_t>(what)];
}

/// How a call ended (law 6). `failed` left nothing behind; `stuck`: the rollback failed.
enum class call_outcome : std::uint8_t { running, done, failed, stuck };

/// One recorded call. `subject` is the group or device, where there is one.
struct journal_entry {
  backend_call what{};                         ///< which call
  std::optional<extent<io_address>> where{};   ///< the extent, of a map or unmap
  std::string subject{};                       ///< the group or device, where one is meant
  call_outcome ended = call_outcome::running;  ///< how it ended

  friend bool operator==(journal_entry const&, journal_entry const&) = default;
};

/// The journal of one or several recordings. Thread-safe. Requires: outlives the recordings that
/// write to it.
class journal {
 public:
  using hook = std::function<void(journal_entry const&)>;  ///< what is called with an entry

  journal() = default;
  journal(journal const&) = delete;
  journal& operator=(journal const&) = delete;

  /// The `n`-th operation from now (1 is the next) is refused with `why` and never reaches the
  /// backend; where `why` says `with_failed_rollback()`, it ends *stuck*.
  void fail_at(std::uint64_t n, error why) { add_fault({n, std::nullopt, why, false}); }
  /// The same, counting operations of one kind only.
  void fail_at(backend_call kind, std::uint64_t n, error why) { add_fault({n, kind, why, false}); }
  /// The `n`-th operation of that kind is carried out, and reported as failed with `why`, *stuck*.
  void fail_after(backend_call kind, std::uint64_t n, error why) {
    add_fault({n, kind, why.with_failed_rollback(), true});
  }
  /// Removes the faults that have not happened.
  void clear_faults() noexcept {
    const std::lock_guard lock{mutex_};
    faults_.clear();
  }
  /// How many faults have not happened yet: a sweep over n ends when its fault is still here.
  [[nodiscard]] std::size_t faults_left() const noexcept {
    const std::lock_guard lock{mutex_};
    return faults_.size();
  }

  /// Called before each operation, with no lock held: to inspect a gate, or to discard as a hostile
  /// balloon would. It must not throw.
  void before_each(hook callback) { before_ = std::move(callback); }
  /// Called after each operation, once its outcome is known.
  void after_each(hook callback) { after_ = std::move(callback); }

  /// The calls so far, in order. Cost: copies. Fails: may throw `std::bad_alloc`.
  [[nodiscard]] std::vector<journal_entry> entries() const {
    const std::lock_guard lock{mutex_};
    return entries_;
  }
  /// How many calls of one kind there were, whatever their outcome.
  [[nodiscard]] std::size_t count(backend_call kind) const noexcept {
    const std::lock_guard lock{mutex_};
    std::size_t found = 0;
    for (journal_entry const& entry : entries_) found += entry.what == kind ? 1U : 0U;
    return found;
  }
  /// Removes the entries; the faults stay.
  void clear() noexcept {
    const std::lock_guard lock{mutex_};
    entries_.clear();
  }

 private:
  template <class>
  friend class recording;

  struct fault {
    std::uint64_t countdown;
    std::optional<backend_call> kind;
    error why;
    bool carried_out;
  };

  void add_fault(fault one) {
    const std::lock_guard lock{mutex_};
    faults_.push_back(one);
  }

  /// The fault to inject into a call of `kind`, if any. Each that matches counts down; the first to
  /// reach zero is used up.
  [[nodiscard]] std::optional<fault> due_fault(backend_call kind) noexcept {
    std::optional<fault> due;
    for (std::size_t i = 0; i < faults_.size();) {
      const bool counts = !faults_[i].kind || *faults_[i].kind == kind;
      if (counts && faults_[i].countdown > 0) --faults_[i].countdown;
      if (counts && faults_[i].countdown == 0 && !due) {
        due = faults_[i];
        faults_.erase(faults_.begin() + static_cast<std::ptrdiff_t>(i));
      } else {
        ++i;
      }
    }
    return due;
  }

  /// Records an operation, runs it (unless a fault refuses it), and records how it ended. `Answer`
  /// is a `result`.
  template <class Answer, class Run>
  Answer record(backend_call what, std::optional<extent<io_address>> where,
                std::string_view subject, Run run) noexcept {
    std::optional<fault> due;
    std::size_t line = 0;
    journal_entry entry;
    TETHER_TRY {
      entry = {what, where, std::string{subject}, call_outcome::running};
      const std::lock_guard lock{mutex_};
      line = entries_.size();
      entries_.push_back(entry);
      due = due_fault(what);
    }
    TETHER_CATCH(std::exception const&) { return failure(error::out_of_memory(name_of(what))); }
    if (before_) before_(entry);
    Answer answer = due && !due->carried_out ? Answer{failure(due->why)} : run();
    if (due && due->carried_out && answer) answer = failure(due->why);
    entry.ended = answer                             ? call_outcome::done
                  : answer.error().rollback_failed() ? call_outcome::stuck
                                                     : call_outcome::failed;
    {
      const std::lock_guard lock{mutex_};
      if (line < entries_.size()) entries_[line].ended = entry.ended;
    }
    if (after_) after_(entry);
    return answer;
  }

  mutable std::mutex mutex_;
  std::vector<journal_entry> entries_;
  std::vector<fault> faults_;
  hook before_;
  hook after_;
};

/// A call as a line of text: `map [0x0, 0xfff]`, `join 'nic': failed`.
[[nodiscard]] inline std::string sentence(journal_entry const& entry) {
  std::string text = name_of(entry.what);
  if (!entry.subject.empty()) text.append(" '").append(entry.subject).append("'");
  if (entry.where) {
    char numbers[64];
    std::snprintf(numbers, sizeof numbers, " [0x%llx, 0x%llx]",
                  static_cast<unsigned long long>(entry.where->first.value),
                  static_cast<unsigned long long>(entry.where->last.value));
    text.append(numbers);
  }
  if (entry.ended == call_outcome::failed) text.append(": failed");
  if (entry.ended == call_outcome::stuck) text.append(": stuck");
  return text;
}

}  // namespace tether
