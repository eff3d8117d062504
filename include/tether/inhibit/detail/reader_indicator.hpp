// SPDX-License-Identifier: BSL-1.0
// Counts the discards that are inside the gate, and lets none in while it is closed: a distributed
// reader-writer lock, whose readers are discards, counted in a word for each few threads, and whose
// writers are holds.
//
//   a word:      | closed | how many are inside |
//   a discard:   load it; closed: refused, else exchange it for one more
//   a hold:      set closed in every word, then wait until nobody is inside
//
// Both sides change one word, so one of them is first. Only a discard that was granted is counted;
// one that is refused changes nothing, so a hold never mistakes it for a running discard. A hold
// waits for the discards that run; where the gate was closed already, all of them have ended.
#pragma once

#include <tether/core/stop.hpp>
#include <tether/inhibit/detail/condition.hpp>
#include <tether/inhibit/detail/shown_gate.hpp>
#include <tether/inhibit/kinds.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <system_error>

namespace tether::detail {

/// How long a hold may wait for running discards: as long as it takes, or not at all.
struct wait_limits {
  bool wait = true;
};
/// Until a time, of any clock.
template <class TimePoint>
struct wait_until {
  static constexpr bool wait = true;
  TimePoint until;
};
template <class TimePoint>
wait_until(TimePoint) -> wait_until<TimePoint>;
/// Until a stop is requested; null: as long as it takes.
template <class StopToken>
struct wait_unless_stopped {
  static constexpr bool wait = true;
  StopToken const* stop;  // by address: destroying a token locks the bus
};
template <class StopToken>
wait_unless_stopped(StopToken const*) -> wait_unless_stopped<StopToken>;

/// How the wait for running discards has ended. `own_permit`: the only thread has one itself.
enum class drained : std::uint8_t { yes, busy, timed_out, cancelled, own_permit };
/// Why a hold is refused after a wait that did not end with `yes`.
[[nodiscard]] constexpr std::errc cause_of(drained outcome) noexcept {
  switch (outcome) {
    case drained::busy: return std::errc::device_or_resource_busy;
    case drained::timed_out: return std::errc::timed_out;
    case drained::cancelled: return std::errc::operation_canceled;
    case drained::yes:
    case drained::own_permit: break;
  }
  return std::errc::resource_deadlock_would_occur;
}

/// The reader indicator for one thread: plain counts. A discard that is inside while a hold is
/// asked for can only be the caller's own.
class plain_reader_indicator {
 public:
  class ticket {};

  template <class Mutex>
  explicit plain_reader_indicator(Mutex&) noexcept {}

  [[nodiscard]] bool enter(discard_kind kind, ticket&) noexcept {
    if (closed_[index(kind)] != 0) return false;
    inside_[index(kind)] += 1;
    return true;
  }
  void leave(discard_kind kind, ticket const&) noexcept { inside_[index(kind)] -= 1; }

  void close(discard_kind kind, std::uint32_t times) noexcept { closed_[index(kind)] += times; }
  void reopen(discard_kind kind, std::uint32_t times) noexcept { closed_[index(kind)] -= times; }

  template <class Lock, class Limits = wait_limits>
  [[nodiscard]] drained drain(bool coordinated_too, Lock&, Limits const&) noexcept {
    return inside_[0] == 0 && (!coordinated_too || inside_[1] == 0) ? drained::yes
                                                                    : drained::own_permit;
  }
  [[nodiscard]] bool entered_by_this_thread() const noexcept {
    return inside_[0] + inside_[1] != 0;
  }

 private:
  static constexpr std::size_t index(discard_kind kind) noexcept {
    return static_cast<std::size_t>(kind);
  }

  std::array<std::uint64_t, 2> inside_{};
  std::array<std::uint64_t, 2> closed_{};
};

/// How many permits, of any gate, this thread has. Waiting for its own permit would deadlock, so it
/// is refused.
inline thread_local constinit std::int64_t permits_of_this_thread = 0;
/// Assigns threads to slots, round robin.
inline std::atomic<std::uint32_t> threads_seen{0};
inline thread_local constinit std::uint32_t slot_of_this_thread = 0;

/// The synchronisation primitives of a reader indicator for many threads. Replaced by tests that
/// schedule every step of every thread (test/support/interleavings.hpp), and for a mutex of the
/// user's own.
struct standard_parts {
  template <class Value>
  using atomic = std::atomic<Value>;
  using mutex = std::mutex;
  using condition_variable = condition;
  /// How many slots count the discards that are inside. Enough for threads to have one each.
  static constexpr std::size_t slots = 16;
};

/// The reader indicator for many threads. Entering writes to a slot that few other threads share,
/// so it scales. Cost of enter: a load, and an atomic exchange if it is granted; of leave: an
/// atomic subtraction; uncontended below `slots` threads. Of the first close of a kind and of its
/// last reopening: an atomic addition for each slot.
template <class Parts>
class basic_shared_reader_indicator {
  using counter = typename Parts::template atomic<std::uint64_t>;
  using mutex = typename Parts::mutex;

 public:
  static constexpr std::size_t slots = Parts::slots;

  class ticket {
    friend class basic_shared_reader_indicator;
    counter* counter_ = nullptr;
  };

  /// `gate` is the gate's mutex, under which a hold waits for the condition variable.
  explicit basic_shared_reader_indicator(mutex& gate) : mutex_{&gate} {}

  [[nodiscard]] bool enter(discard_kind kind, ticket& mine) noexcept {
    counter& inside = slots_[slot_index()].inside[index(kind)];
    std::uint64_t seen = inside.load(std::memory_order_seq_cst);
    do {
      if (seen >= closed) [[unlikely]]
        return false;
    } while (!inside.compare_exchange_weak(seen, seen + 1, std::memory_order_seq_cst));
    mine.counter_ = &inside;
    permits_of_this_thread += 1;
    return true;
  }
  /// Requires: on the thread that entered. On another one both would be mistaken about their own
  /// permits for ever, so the thread that has ended more than it had is stopped.
  void leave(discard_kind, ticket const& mine) noexcept {
    permits_of_this_thread -= 1;
    if (permits_of_this_thread < 0) [[unlikely]]
      stop(
          "tether[I18]: a permit to discard ended on another thread than the one that took it: "
          "take and end it on one thread");
    step_out(*mine.counter_);
  }

  /// Requires, as all below: the gate's mutex is held.
  void close(discard_kind kind, std::uint32_t times) noexcept {
    if (times != 0 && times_closed_[index(kind)] == 0) {
      for (slot& one : slots_) one.inside[index(kind)].fetch_add(closed, std::memory_order_seq_cst);
    }
    times_closed_[index(kind)] += times;
  }
  void reopen(discard_kind kind, std::uint32_t times) noexcept {
    times_closed_[index(kind)] -= times;
    if (times == 0 || times_closed_[index(kind)] != 0) return;
    for (slot& one : slots_) one.inside[index(kind)].fetch_sub(closed, std::memory_order_seq_cst);
  }

  /// Waits until no forbidden discard is inside. Requires: closed already; `lock` holds the gate's
  /// mutex, which is released while waiting.
  template <class Limits = wait_limits>
  [[nodiscard]] drained drain(bool coordinated_too, std::unique_lock<mutex>& lock,
                              Limits const& how) noexcept {
    waiting_.fetch_add(1, std::memory_order_seq_cst);
    const auto empty = [&] { return nobody_inside(coordinated_too); };
    const drained outcome = empty() ? drained::yes : wait(lock, how, empty);
    waiting_.fetch_sub(1, std::memory_order_seq_cst);
    return outcome;
  }
  [[nodiscard]] bool entered_by_this_thread() const noexcept { return permits_of_this_thread != 0; }

 private:
  /// Of a word: nobody may enter. What is below it counts who is inside.
  static constexpr std::uint64_t closed = std::uint64_t{1} << 63U;

  struct alignas(64) slot {
    std::array<counter, 2> inside{};
  };

  static constexpr std::size_t index(discard_kind kind) noexcept {
    return static_cast<std::size_t>(kind);
  }
  static std::size_t slot_index() noexcept {
    // a thread has one number for all gates, however many slots they have
    constexpr std::size_t numbers = standard_parts::slots;
    if (slot_of_this_thread == 0) [[unlikely]]
      slot_of_this_thread = threads_seen.fetch_add(1, std::memory_order_relaxed) % numbers + 1;
    if constexpr (slots < numbers) return (slot_of_this_thread - 1) % slots;
    else return slot_of_this_thread - 1;
  }

  static std::uint64_t count_in(counter const& word) noexcept {
    return word.load(std::memory_order_seq_cst) & (closed - 1);
  }
  using lock_type = std::unique_lock<mutex>;
  template <class Condition>
  drained wait(lock_type& lock, wait_limits how, Condition empty) noexcept {
    if (!how.wait) return drained::busy;
    changed_.wait(lock, empty);
    return drained::yes;
  }
  template <class TimePoint, class Condition>
  drained wait(lock_type& lock, wait_until<TimePoint> const& how, Condition empty) noexcept {
    return changed_.wait_until(lock, how.until, empty) ? drained::yes : drained::timed_out;
  }
  template <class StopToken, class Condition>
  drained wait(lock_type& lock, wait_unless_stopped<StopToken> how, Condition empty) noexcept {
    if (how.stop == nullptr) return wait(lock, wait_limits{}, empty);
    return changed_.wait(lock, *how.stop, empty) ? drained::yes : drained::cancelled;
  }

  [[nodiscard]] bool nobody_inside(bool coordinated_too) const noexcept {
    for (slot const& one : slots_) {
      if (count_in(one.inside[0]) != 0) return false;
      if (coordinated_too && count_in(one.inside[1]) != 0) return false;
    }
    return true;
  }
  /// Leaves, and wakes a waiting hold. The empty critical section of `wake` makes sure that the
  /// hold sleeps before it is notified: no lost wakeup.
  void step_out(counter& inside) noexcept {
    inside.fetch_sub(1, std::memory_order_seq_cst);
    if (waiting_.load(std::memory_order_seq_cst) != 0) [[unlikely]]
      wake();
  }
  [[gnu::cold, gnu::noinline]] void wake() noexcept {
    // a visitor of `for_each_holder` is inside of it already
    if (!shown_gate::shows(mutex_)) {
      const std::lock_guard lock{*mutex_};
    }
    changed_.notify_all();
  }

  std::array<slot, slots> slots_{};
  std::array<std::uint64_t, 2> times_closed_{};  // protected by the gate's mutex
  counter waiting_{0};
  mutex* mutex_;
  typename Parts::condition_variable changed_;
};

using shared_reader_indicator = basic_shared_reader_indicator<standard_parts>;

}  // namespace tether::detail
