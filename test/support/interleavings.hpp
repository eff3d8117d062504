// SPDX-License-Identifier: BSL-1.0
// A model checker for a few threads: runs every interleaving of their operations on atomics,
// mutexes and condition variables. For the gate (reader_indicator.hpp takes those types as a
// parameter), whose rules are about what one thread sees of another.
//
//     threads are fibers; each stops before its next operation, and the search picks the next
//
//              A: inside += 1 --.          .-- B: closed += 1           every such choice is tried, depth first;
//                                 choose                               every path is run from the beginning again
//              A: closed?     --'          '-- B: inside?
//
// Complete: preemptions are not bounded. What makes that feasible is that a state which was seen
// before is not explored again. A state is everything that the future depends on: what every thread
// has read so far (threads are functions of that) and which values memory can still answer, as a
// 64-bit hash. Two states with one hash would hide a schedule: with a million states, a chance of
// one in ten million. How many schedules the states stand for is counted exactly, though no
// schedule is run twice.
//
// Memory is modelled, too: a word is the list of all values that it ever had, and a thread may read
// any that is not older than one it knows already. What a memory order promises is exactly which
// ones it knows.
//     acquire, release    a read learns what the writer knew; additions continue a release sequence
//     seq_cst             reads no value older than the last one that was read or written seq_cst
//     addition, exchange  always of the newest value: such words have one modification order
// That is C++20's model for executions in which no value is read before it is written: every weaker
// result that a compiler or a processor may give for these operations, more than x86's store
// buffers would show. Not covered: stores and fences (the reader indicator has none), what an
// exchange that fails may read beside the newest value (one more turn of its loop),
// load buffering, spurious wake-ups (they could only hide a lost one). Plain memory is `page`: an
// access by a thread that does not know of every earlier access is a data race, and is reported.
#pragma once

#include <tether/inhibit/detail/reader_indicator.hpp>

#include <support/fiber.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace tether_test::interleavings {

inline constexpr std::size_t most_threads = 4;
inline constexpr std::size_t most_words = 12;
inline constexpr std::size_t most_pages = 4;

enum class operation : std::uint8_t {
  begin,
  load,
  add,
  subtract,
  exchange,
  lock,
  unlock,
  sleep,
  wake_all,
  act
};

/// One memory order weakened below what the code says, to seed a mistake: `what` on every word of
/// that name.
struct weakening {
  std::string_view word;
  operation what;
  std::memory_order order;
};

/// One thread's code, and the slot of the reader indicator that it gets.
struct actor {
  const char* name;
  std::uint32_t slot;
  std::function<void()> code;
};

struct findings {
  /// empty: none; else what went wrong and the schedule that leads there
  std::string failure;
  std::uint64_t schedules = 0;  ///< complete orders of all operations
  std::uint64_t states = 0;     ///< distinct ones
  std::uint64_t steps = 0;      ///< transitions between states, each tried once
};

namespace detail {

/// A vector clock: for each word the number of its newest known value, for each page the number of
/// writes, and of each thread's reads.
using knowledge = std::array<std::uint8_t, most_words + most_pages * (1 + most_threads)>;

inline void learn(knowledge& mine, knowledge const& theirs) noexcept {
  for (std::size_t i = 0; i < mine.size(); ++i) mine[i] = std::max(mine[i], theirs[i]);
}
constexpr std::size_t write_of(std::size_t page) noexcept {
  return most_words + page * (1 + most_threads);
}
constexpr std::size_t read_of(std::size_t page, std::size_t thread) noexcept {
  return write_of(page) + 1 + thread;
}

constexpr std::uint64_t mix(std::uint64_t hash, std::uint64_t value) noexcept {
  hash = (hash ^ value) * 0x9e37'79b9'7f4a'7c15U;
  return hash ^ (hash >> 29);
}
constexpr bool acquires(std::memory_order order) noexcept {
  return order == std::memory_order_acquire || order == std::memory_order_acq_rel ||
         order == std::memory_order_seq_cst;
}
constexpr bool releases(std::memory_order order) noexcept {
  return order == std::memory_order_release || order == std::memory_order_acq_rel ||
         order == std::memory_order_seq_cst;
}

struct message {
  std::uint64_t value = 0;
  knowledge published{};
};
struct word {
  std::string_view name;
  // some order on it is weakened: what each thread knows of it is part of the state
  bool weak = false;
  std::uint8_t agreed = 0;       // the newest value that was read or written seq_cst
  std::vector<message> history;  // never empty
};
struct lock_state {
  int owner = -1;
  knowledge published{};
  // a hash of its owners so far, in order: what it protects is a function of that
  std::uint64_t taken = 0;
};
struct pending {
  operation what = operation::begin;
  std::size_t place = 0;  // a word, or a mutex
  std::memory_order order = std::memory_order_seq_cst;
  std::uint64_t value = 0;     // added, or exchanged for
  std::uint64_t expected = 0;  // of an exchange
  bool timed = false;
  std::stop_token const* stop = nullptr;
  const char* name = "";
};
enum class sleeping : std::uint8_t { no, yes, woken };
struct thread {
  const char* name = "";
  knowledge knows{};
  std::uint64_t seen = 0;  // a hash of every value answered so far
  pending next{};
  sleeping asleep = sleeping::no;
  bool finished = true;
  std::int64_t permits = 0;  // stands for the thread_local variables
  std::uint32_t slot = 0;
};
struct choice {
  std::uint8_t thread = 0;
  // which of several: 0 the newest value, or woken; more: older values, or timed out
  std::uint8_t answer = 0;
};
struct node {
  std::uint64_t key = 0;
  std::uint64_t schedules = 0;
  std::size_t at = 0;
  std::vector<choice> choices;
};
struct logged {
  std::size_t thread;
  pending what;
  std::uint64_t answer;
};

}  // namespace detail

/// The search. One at a time.
class explorer {
 public:
  /// `names`: of the words, in order of construction. `wanted`: only failures that begin so count;
  /// a seed asks for its own, or a shorter path to another one would be found first.
  explicit explorer(std::vector<std::string_view> names, std::vector<weakening> weak = {},
                    std::string_view wanted = {})
      : names_{std::move(names)}, weak_{std::move(weak)}, wanted_{wanted} {
    current_explorer() = this;
  }
  explorer(explorer const&) = delete;
  explorer& operator=(explorer const&) = delete;
  ~explorer() { current_explorer() = nullptr; }
  [[nodiscard]] static explorer& current() noexcept { return *current_explorer(); }

  /// Runs every schedule, known states or not: to check the search against.
  void forget_states() noexcept { remembers_ = false; }

  /// `make` builds the objects and the threads that share them; `check` judges what is left when
  /// all threads have ended.
  template <class World>
  findings explore(std::function<std::unique_ptr<World>()> make,
                   std::function<std::vector<actor>(World&)> threads,
                   std::function<void(World&)> check) {
    for (;;) {
      words_.clear();
      locks_.clear();
      pages_ = 0;
      page_state_ = {};
      environment_ = 0;
      log_.clear();
      depth_ = 0;
      draining_ = given_up_ = false;
      reached_ = 1;
      auto world = make();
      const auto actors = threads(*world);
      run(actors);
      // these stacks can never be unwound; what they refer to is kept, and stays reachable
      if (given_up_) {
        static auto& kept = *new std::vector<std::shared_ptr<void>>;
        kept.emplace_back(std::move(world));
        for (auto& one : fibers_) kept.emplace_back(std::move(one));
        break;
      }
      check(*world);
      for (auto const& one : words_) {
        if (one.history.back().value != 0)
          fail("a count is left behind in '" + std::string{one.name} + "'");
      }
      world.reset();
      if (!found_.failure.empty() || !backtrack()) break;
    }
    found_.states = known_.size() + path_.size();
    return found_;
  }

  /// Only the first failure counts. Its schedule is that of the present execution.
  void fail(std::string const& why) {
    if (!found_.failure.empty() || !why.starts_with(wanted_)) return;
    found_.failure = why + "; after:";
    for (auto const& one : log_) found_.failure += "\n  " + text_of(one);
  }
  /// A scheduling point with a name for the trace: the moment in which the thread does that.
  void act(const char* name) { perform({.what = operation::act, .name = name}); }
  /// The running thread has read plain state: what it does from now on may depend on it.
  void sees(std::uint64_t value) noexcept {
    if (running_ != nobody) threads_[running_].seen = detail::mix(threads_[running_].seen, value);
  }
  /// Plain state that threads poll has changed (a stop token).
  void environment_changes() noexcept { ++environment_; }

  // Called by the parts below.

  /// How a sleep can end.
  static constexpr std::uint32_t woken = 0;
  static constexpr std::uint32_t timed_out = 1;
  static constexpr std::uint32_t stopped = 2;

  std::size_t new_word(std::uint64_t value) {
    const auto id = words_.size();
    detail::word fresh{.name = id < names_.size() ? names_[id] : "word", .history = {{value, {}}}};
    fresh.weak =
        std::ranges::any_of(weak_, [&](weakening const& one) { return one.word == fresh.name; });
    words_.push_back(std::move(fresh));
    return id;
  }
  std::size_t new_lock() {
    locks_.emplace_back();
    return locks_.size() - 1;
  }
  std::size_t new_page() { return pages_++; }

  std::uint64_t perform(detail::pending what) {
    if (running_ == nobody) return execute_outside(what);
    const auto me = running_;
    threads_[me].next = what;
    decide_and_switch();
    return execute(me);
  }
  /// Wakes the sleepers (there is one condition variable) without a step of its own: as a part of
  /// the step that is being executed.
  void wake_sleepers() noexcept {
    for (auto& one : threads_) {
      if (one.asleep == detail::sleeping::yes) one.asleep = detail::sleeping::woken;
    }
  }
  void touch(std::size_t page, bool writes) {
    if (running_ == nobody) return;
    auto& mine = threads_[running_].knows;
    bool ordered = mine[detail::write_of(page)] == page_state_[detail::write_of(page)];
    for (std::size_t i = 0; writes && i < most_threads; ++i) {
      ordered = ordered && mine[detail::read_of(page, i)] == page_state_[detail::read_of(page, i)];
    }
    if (!ordered) {
      const char* const how = writes ? " discards" : " uses";
      fail(std::string{"data race: "} + threads_[running_].name + how +
           " a page without knowing of its last use");
    }
    const auto place = writes ? detail::write_of(page) : detail::read_of(page, running_);
    mine[place] = ++page_state_[place];
  }

 private:
  static constexpr std::size_t nobody = most_threads;
  static explorer*& current_explorer() noexcept {
    static explorer* one = nullptr;
    return one;
  }

  // One execution.

  void run(std::vector<actor> const& actors) {
    count_ = actors.size();
    for (std::size_t i = 0; i < count_; ++i) {
      threads_[i] = {.name = actors[i].name, .finished = false, .slot = actors[i].slot + 1};
      code_[i] = &actors[i].code;
      if (!fibers_[i]) fibers_[i] = std::make_unique<fiber>(&explorer::thread_begins);
    }
    for (std::size_t i = 0; i < count_; ++i) threads_[i].seen = detail::mix(1, i);
    // Run each up to its first operation.
    for (std::size_t i = 0; i < count_; ++i) {
      starting_ = true;
      go_on_with(i);
    }
    starting_ = false;
    if (const auto next = decide(); next != nobody) go_on_with(next);
    draining_ = false;
  }
  static void thread_begins() {
    for (;;) {
      auto& me = current();
      const auto which = me.running_;
      (*me.code_[which])();
      me.threads_[which].finished = true;
      me.decide_and_switch();
    }
  }
  void decide_and_switch() {
    const auto me = running_;
    const auto next = starting_ ? nobody : decide();
    if (next != me) go_on_with(next);
  }
  /// Thread-local variables are switched with the fiber.
  void go_on_with(std::size_t next) {
    const auto me = running_;
    if (me != nobody) {
      threads_[me].permits = tether::detail::permits_of_this_thread;
      threads_[me].slot = tether::detail::slot_of_this_thread;
    }
    running_ = next;
    tether::detail::permits_of_this_thread = next != nobody ? threads_[next].permits : 0;
    tether::detail::slot_of_this_thread = next != nobody ? threads_[next].slot : 1;
    (me != nobody ? *fibers_[me] : own_).switch_to(next != nobody ? *fibers_[next] : own_);
  }

  /// In how many ways a thread can go on now: 0 if it is blocked.
  std::uint8_t ways(detail::thread const& one) const {
    using detail::sleeping;
    if (one.finished) return 0;
    if (one.asleep != sleeping::no) {
      if (locks_[one.next.place].owner != -1) return 0;
      return static_cast<std::uint8_t>((one.asleep == sleeping::woken ? 1 : 0) +
                                       (one.next.timed ? 1 : 0));
    }
    if (one.next.what == operation::lock) return locks_[one.next.place].owner == -1 ? 1 : 0;
    if (one.next.what != operation::load) return 1;
    auto const& from = words_[one.next.place];
    return static_cast<std::uint8_t>(from.history.size() - oldest_readable(one, from));
  }
  std::size_t oldest_readable(detail::thread const& one, detail::word const& from) const {
    const std::uint8_t known = one.knows[one.next.place];
    return weakened(one.next) == std::memory_order_seq_cst ? std::max(known, from.agreed) : known;
  }
  std::memory_order weakened(detail::pending const& what) const {
    for (auto const& one : weak_) {
      if (one.what == what.what && one.word == words_[what.place].name) return one.order;
    }
    return what.order;
  }

  /// Picks the thread that goes on, and how: as the path says, then every way in turn. `nobody`
  /// when all have ended.
  std::size_t decide() {
    if (draining_) return first_way();
    if (depth_ == path_.size()) {
      detail::node here;
      bool all_finished = true;
      for (std::size_t k = 0; k < count_; ++k) {
        // The running thread first: fewer switches.
        const auto i = running_ == nobody ? k : (running_ + k) % count_;
        const auto these = ways(threads_[i]);
        all_finished = all_finished && threads_[i].finished;
        for (std::uint8_t way = 0; way < these; ++way)
          here.choices.push_back({static_cast<std::uint8_t>(i), way});
      }
      if (all_finished) return nobody;
      if (here.choices.empty()) {
        std::string blocked = "all threads are blocked (";
        for (std::size_t i = 0; i < count_; ++i) {
          if (threads_[i].finished) continue;
          blocked +=
              std::string{threads_[i].name} +
              (threads_[i].asleep != detail::sleeping::no ? " sleeps, " : " waits for a mutex, ");
        }
        fail(blocked + "nobody can wake them)");
        return rescue();
      }
      here.key = key();
      if (const auto known = known_.find(here.key); known != known_.end()) {
        reached_ = known->second;
        draining_ = true;
        return first_way();
      }
      path_.push_back(std::move(here));
      ++found_.steps;
    }
    auto const& chosen = path_[depth_].choices[path_[depth_].at];
    ++depth_;
    return take(chosen);
  }
  std::size_t take(detail::choice chosen) {
    answer_ = chosen.answer;
    return chosen.thread;
  }
  /// An execution in a known state only has to end, so that nothing is left on its stacks.
  std::size_t first_way() {
    bool all_finished = true;
    for (std::size_t k = 0; k < count_; ++k) {
      const auto i = running_ == nobody ? k : (running_ + k) % count_;
      all_finished = all_finished && threads_[i].finished;
      if (ways(threads_[i]) != 0) return take({static_cast<std::uint8_t>(i), 0});
    }
    return all_finished ? nobody : rescue();
  }
  /// After a deadlock: a spurious wake-up for all. Where even that does not help, the stacks stay
  /// as they are.
  std::size_t rescue() {
    draining_ = true;
    wake_sleepers();
    for (std::size_t i = 0; i < count_; ++i) {
      if (ways(threads_[i]) != 0) return take({static_cast<std::uint8_t>(i), 0});
    }
    given_up_ = true;
    return nobody;
  }
  bool backtrack() {
    std::uint64_t below = reached_;
    while (!path_.empty()) {
      auto& last = path_.back();
      last.schedules += below;
      if (++last.at < last.choices.size()) {
        ++found_.steps;
        return true;
      }
      below = last.schedules;
      if (remembers_) known_.emplace(last.key, below);
      path_.pop_back();
    }
    found_.schedules = below;
    return false;
  }

  // What an operation does.

  std::uint64_t execute(std::size_t me) {
    auto& one = threads_[me];
    std::uint64_t answer = 0;
    std::uint64_t noted = 0;
    switch (one.next.what) {
      case operation::load: noted = answer = load(one); break;
      case operation::add:
      case operation::subtract: add(one, one.next.value); break;
      case operation::exchange: noted = answer = exchange(one); break;
      case operation::lock: noted = lock(me, one.next.place); break;
      case operation::unlock:
        locks_[one.next.place].owner = -1;
        locks_[one.next.place].published = one.knows;
        break;
      case operation::sleep: {
        if (one.next.stop->stop_requested()) {
          noted = answer = stopped;
          break;
        }
        log_.push_back({me, one.next, 0});
        locks_[one.next.place].owner = -1;
        locks_[one.next.place].published = one.knows;
        one.asleep = detail::sleeping::yes;
        one.seen = detail::mix(one.seen, static_cast<std::uint64_t>(operation::sleep));
        decide_and_switch();
        answer = one.asleep == detail::sleeping::woken && answer_ == 0 ? woken : timed_out;
        one.asleep = detail::sleeping::no;
        noted = detail::mix(lock(me, one.next.place), answer);
        break;
      }
      case operation::wake_all: wake_sleepers(); break;
      case operation::begin:
      case operation::act: break;
    }
    for (const std::uint64_t part :
         {static_cast<std::uint64_t>(one.next.what) * 64 + one.next.place, noted, environment_}) {
      one.seen = detail::mix(one.seen, part);
    }
    log_.push_back({me, one.next, answer});
    return answer;
  }
  std::uint64_t load(detail::thread& one) {
    auto& from = words_[one.next.place];
    const auto index = from.history.size() - 1 - answer_;
    const auto order = weakened(one.next);
    must_be_declared(from, order);
    if (detail::acquires(order)) detail::learn(one.knows, from.history[index].published);
    const auto number = static_cast<std::uint8_t>(index);
    one.knows[one.next.place] = std::max(one.knows[one.next.place], number);
    if (order == std::memory_order_seq_cst) from.agreed = std::max(from.agreed, number);
    return from.history[index].value;
  }
  /// Answers what it found; it has exchanged it if that is what was expected.
  std::uint64_t exchange(detail::thread& one) {
    const std::uint64_t found = words_[one.next.place].history.back().value;
    if (found == one.next.expected) {
      add(one, one.next.value - found);
      return found;
    }
    answer_ = 0;  // the newest
    return load(one);
  }
  void add(detail::thread& one, std::uint64_t by) {
    auto& to = words_[one.next.place];
    const auto order = weakened(one.next);
    must_be_declared(to, order);
    const detail::message before = to.history.back();
    if (detail::acquires(order)) detail::learn(one.knows, before.published);
    const auto number = static_cast<std::uint8_t>(to.history.size());
    one.knows[one.next.place] = number;
    if (order == std::memory_order_seq_cst) to.agreed = number;
    detail::message after{before.value + by, before.published};
    if (detail::releases(order)) detail::learn(after.published, one.knows);
    to.history.push_back(after);
  }
  /// States leave out what no thread could tell apart with seq_cst alone, so a weaker order has to
  /// be declared beforehand.
  void must_be_declared(detail::word const& which, std::memory_order order) {
    if (order == std::memory_order_seq_cst || which.weak) return;
    fail("an order weaker than seq_cst on '" + std::string{which.name} +
         "', which was not declared");
  }
  std::uint64_t lock(std::size_t me, std::size_t which) {
    auto& it = locks_[which];
    it.owner = static_cast<int>(me);
    detail::learn(threads_[me].knows, it.published);
    it.taken = detail::mix(it.taken, me + 1);
    return it.taken;
  }
  /// Before the threads begin and after they have ended.
  std::uint64_t execute_outside(detail::pending const& what) {
    if (what.what == operation::load) return words_[what.place].history.back().value;
    if (what.what == operation::add || what.what == operation::subtract)
      words_[what.place].history.back().value += what.value;
    if (what.what == operation::exchange) {
      auto& word = words_[what.place].history.back().value;
      const std::uint64_t found = word;
      if (found == what.expected) word = what.value;
      return found;
    }
    return 0;
  }

  // The state, as a hash.

  std::uint64_t key() const {
    std::uint64_t hash = environment_;
    for (std::size_t i = 0; i < count_; ++i) {
      auto const& one = threads_[i];
      const auto how = (one.finished ? 8U : 0U) + static_cast<std::uint64_t>(one.asleep);
      hash = detail::mix(hash, one.seen);
      hash = detail::mix(
          hash, static_cast<std::uint64_t>(one.next.what) * 4096 + one.next.place * 16 + how);
      hash = what_matters_of(hash, one.knows);
    }
    for (std::size_t i = 0; i < words_.size(); ++i) {
      auto const& one = words_[i];
      std::size_t oldest = one.history.size() - 1;
      if (one.weak) {
        for (std::size_t t = 0; t < count_; ++t) {
          if (!threads_[t].finished) oldest = std::min<std::size_t>(oldest, threads_[t].knows[i]);
        }
        hash = detail::mix(hash, one.agreed);
      }
      for (std::size_t k = oldest; k < one.history.size(); ++k) {
        hash = what_matters_of(detail::mix(hash, one.history[k].value), one.history[k].published);
      }
    }
    for (auto const& one : locks_) {
      hash = what_matters_of(
          detail::mix(detail::mix(hash, static_cast<std::uint64_t>(one.owner + 1)), one.taken),
          one.published);
    }
    return hash;
  }
  /// Of pages, whether the last access is known; of words, what is known of the weakened ones.
  std::uint64_t what_matters_of(std::uint64_t hash, detail::knowledge const& knows) const {
    std::uint64_t bits = 0;
    for (std::size_t i = most_words; i < most_words + pages_ * (1 + most_threads); ++i) {
      bits = bits * 2 + (knows[i] == page_state_[i] ? 1U : 0U);
    }
    hash = detail::mix(hash, bits);
    for (std::size_t i = 0; i < words_.size(); ++i) {
      if (words_[i].weak) hash = detail::mix(hash, knows[i]);
    }
    return hash;
  }

  std::string text_of(detail::logged const& one) const {
    std::string text = std::string{threads_[one.thread].name} + ": ";
    const auto word = [&] {
      return "'" + std::string{words_[one.what.place].name} + "' (word " +
             std::to_string(one.what.place) + ")";
    };
    switch (one.what.what) {
      case operation::load: return text + "reads " + std::to_string(one.answer) + " from " + word();
      case operation::add: return text + "adds " + std::to_string(one.what.value) + " to " + word();
      case operation::subtract:
        return text + "subtracts " + std::to_string(0 - one.what.value) + " from " + word();
      case operation::exchange:
        return text + (one.answer == one.what.expected ? "puts " : "does not put ") +
               std::to_string(one.what.value) + " in place of " +
               std::to_string(one.what.expected) + " in " + word();
      case operation::lock: return text + "locks mutex " + std::to_string(one.what.place);
      case operation::unlock: return text + "unlocks mutex " + std::to_string(one.what.place);
      case operation::sleep:
        return text + (one.answer == woken ? "sleeps, or wakes" : "stops waiting");
      case operation::wake_all: return text + "wakes all sleepers";
      case operation::begin:
      case operation::act: return text + one.what.name;
    }
    return text;
  }

  std::vector<std::string_view> names_;
  std::vector<weakening> weak_;
  std::string_view wanted_;
  bool remembers_ = true;
  findings found_;

  std::vector<detail::word> words_;
  std::vector<detail::lock_state> locks_;
  std::size_t pages_ = 0;
  detail::knowledge page_state_{};
  std::uint64_t environment_ = 0;

  std::array<detail::thread, most_threads> threads_{};
  std::array<std::function<void()> const*, most_threads> code_{};
  std::array<std::unique_ptr<fiber>, most_threads> fibers_{};
  fiber own_;
  std::size_t count_ = 0;
  std::size_t running_ = nobody;
  bool starting_ = false;

  std::vector<detail::node> path_;
  std::size_t depth_ = 0;
  std::uint8_t answer_ = 0;
  bool draining_ = false;
  bool given_up_ = false;
  std::uint64_t reached_ = 1;
  std::unordered_map<std::uint64_t, std::uint64_t> known_;
  std::vector<detail::logged> log_;
};

// Replacements for the standard library's types in the code under test.

/// Additions answer nothing, so that no thread can depend on their order: it need not be part of a
/// state.
template <class Value>
class atomic {
 public:
  atomic(Value value = 0) : place_{explorer::current().new_word(value)} {}
  atomic(atomic const&) = delete;
  atomic& operator=(atomic const&) = delete;
  [[nodiscard]] Value load(std::memory_order order) const {
    return static_cast<Value>(explorer::current().perform({operation::load, place_, order}));
  }
  bool compare_exchange_weak(Value& expected, Value desired, std::memory_order order) {
    const auto found = static_cast<Value>(explorer::current().perform({.what = operation::exchange,
                                                                       .place = place_,
                                                                       .order = order,
                                                                       .value = desired,
                                                                       .expected = expected}));
    const bool exchanged = found == expected;
    expected = found;
    return exchanged;
  }
  void fetch_add(Value by, std::memory_order order) {
    explorer::current().perform({operation::add, place_, order, by});
  }
  void fetch_sub(Value by, std::memory_order order) {
    explorer::current().perform({operation::subtract, place_, order, std::uint64_t{0} - by});
  }

 private:
  std::size_t place_;
};

class mutex {
 public:
  mutex() : place_{explorer::current().new_lock()} {}
  mutex(mutex const&) = delete;
  mutex& operator=(mutex const&) = delete;
  void lock() { explorer::current().perform({operation::lock, place_}); }
  void unlock() { explorer::current().perform({operation::unlock, place_}); }
  [[nodiscard]] std::size_t place() const noexcept { return place_; }

 private:
  std::size_t place_;
};

/// As std::condition_variable_any: unlocking and falling asleep are one step, and a stop that was
/// requested before it prevents it. A deadline may pass at any moment.
class condition_variable {
 public:
  template <class Condition>
  void wait(std::unique_lock<mutex>& lock, Condition condition) {
    static_cast<void>(wait(lock, {}, false, condition));
  }
  template <class Condition>
  bool wait(std::unique_lock<mutex>& lock, std::stop_token const& stop, Condition condition) {
    return wait(lock, stop, false, condition);
  }
  template <class Condition>
  bool wait_until(std::unique_lock<mutex>& lock, std::chrono::steady_clock::time_point,
                  Condition condition) {
    return wait(lock, {}, true, condition);
  }
  void notify_all() { explorer::current().perform({.what = operation::wake_all}); }

 private:
  template <class Condition>
  static bool wait(std::unique_lock<mutex>& lock, std::stop_token const& stop, bool timed,
                   Condition& condition) {
    auto& all = explorer::current();
    const std::stop_callback wake{stop, [&all]() noexcept { all.wake_sleepers(); }};
    while (!condition()) {
      const auto how = all.perform({.what = operation::sleep,
                                    .place = lock.mutex()->place(),
                                    .timed = timed,
                                    .stop = &stop});
      if (how == explorer::stopped) return false;
      if (how == explorer::timed_out) return condition();
    }
    return true;
  }
};

/// Plain memory: discards free it, devices use it.
class page {
 public:
  page() : place_{explorer::current().new_page()} {}
  void discard() { explorer::current().touch(place_, true); }
  void use() { explorer::current().touch(place_, false); }

 private:
  std::size_t place_;
};

/// Parts of a reader indicator.
struct parts {
  template <class Value>
  using atomic = interleavings::atomic<Value>;
  using mutex = interleavings::mutex;
  using condition_variable = interleavings::condition_variable;
  static constexpr std::size_t slots = 2;
};

}  // namespace tether_test::interleavings
