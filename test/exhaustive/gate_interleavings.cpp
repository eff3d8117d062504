// SPDX-License-Identifier: BSL-1.0
// The gate's own code, run in every order of its atomic operations by two to four threads, on a
// memory that is as weak as the orders that it names allow. And mistakes that it must not make,
// each found for its own reason: without that, "nothing was found" says little.
#include <tether/inhibit/discard_gate.hpp>

#include <support/interleavings.hpp>

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace exhaustive_gate_interleavings {

using namespace tether;
namespace interleavings = tether_test::interleavings;
using interleavings::actor;
using interleavings::explorer;
using interleavings::findings;
using interleavings::operation;
using interleavings::weakening;

namespace {

// Mistakes in the order of steps. A copy of the reader indicator with places to go wrong at; `none`
// is the copy itself, which must walk exactly the states that the reader indicator does, or the
// copy proves nothing.

enum class mistake : std::uint8_t {
  none,
  looks_before_it_counts,         // whether closed, and only then inside += 1
  counts_before_it_looks,         // inside += 1, and goes again if it is closed
  counts_but_does_not_drain,      // a hold closes, and does not wait
  wakes_without_the_mutex,        // no empty critical section before the wake-up
  asks_who_waits_before_it_goes,  // waiting?, and only then inside -= 1
  goes_without_waking,            // steps out without a word
  closes_one_slot,                // not the others
};

template <mistake Mistake>
class mistaken_indicator {
  using parts = interleavings::parts;
  using counter = parts::atomic<std::uint64_t>;

 public:
  class ticket {
    friend class mistaken_indicator;
    counter* counter_ = nullptr;
  };

  explicit mistaken_indicator(parts::mutex& gate) : mutex_{&gate} {}

  [[nodiscard]] bool enter(discard_kind kind, ticket& mine) noexcept {
    counter& inside = slots_[detail::slot_of_this_thread - 1].inside[index(kind)];
    mine.counter_ = &inside;
    if constexpr (Mistake == mistake::counts_before_it_looks)
      inside.fetch_add(1, std::memory_order_seq_cst);
    std::uint64_t seen = inside.load(std::memory_order_seq_cst);
    if constexpr (Mistake == mistake::counts_before_it_looks) {
      if (seen >= closed) step_out(inside);
      else detail::permits_of_this_thread += 1;
      return seen < closed;
    }
    do {
      if (seen >= closed) return false;
      if constexpr (Mistake == mistake::looks_before_it_counts) {
        inside.fetch_add(1, std::memory_order_seq_cst);
        break;
      }
    } while (!inside.compare_exchange_weak(seen, seen + 1, std::memory_order_seq_cst));
    detail::permits_of_this_thread += 1;
    return true;
  }
  void leave(discard_kind, ticket const& mine) noexcept {
    detail::permits_of_this_thread -= 1;
    step_out(*mine.counter_);
  }
  void close(discard_kind kind, std::uint32_t times) noexcept {
    if (times != 0 && times_closed_[index(kind)] == 0) {
      for (slot& one : closable()) one.inside[index(kind)].fetch_add(closed, seq_cst);
    }
    times_closed_[index(kind)] += times;
  }
  void reopen(discard_kind kind, std::uint32_t times) noexcept {
    times_closed_[index(kind)] -= times;
    if (times == 0 || times_closed_[index(kind)] != 0) return;
    for (slot& one : closable()) one.inside[index(kind)].fetch_sub(closed, seq_cst);
  }

  template <class Limits>
  [[nodiscard]] detail::drained drain(bool coordinated_too, std::unique_lock<parts::mutex>& lock,
                                      Limits const& how) noexcept {
    using detail::drained;
    if constexpr (Mistake == mistake::counts_but_does_not_drain) return drained::yes;
    waiting_.fetch_add(1, std::memory_order_seq_cst);
    const auto empty = [&] { return nobody_inside(coordinated_too); };
    drained outcome = drained::yes;
    if (!empty()) {
      if constexpr (requires { how.stop; }) {
        if (!changed_.wait(lock, *how.stop, empty)) outcome = drained::cancelled;
      } else if constexpr (requires { how.until; }) {
        if (!changed_.wait_until(lock, how.until, empty)) outcome = drained::timed_out;
      } else if (how.wait) {
        changed_.wait(lock, empty);
      } else {
        outcome = drained::busy;
      }
    }
    waiting_.fetch_sub(1, std::memory_order_seq_cst);
    return outcome;
  }
  [[nodiscard]] bool entered_by_this_thread() const noexcept {
    return detail::permits_of_this_thread != 0;
  }

 private:
  static constexpr std::memory_order seq_cst = std::memory_order_seq_cst;
  static constexpr std::uint64_t closed = std::uint64_t{1} << 63U;
  struct slot {
    std::array<counter, 2> inside{};
  };
  static constexpr std::size_t index(discard_kind kind) noexcept {
    return static_cast<std::size_t>(kind);
  }
  std::span<slot> closable() noexcept {
    return std::span{slots_}.first(Mistake == mistake::closes_one_slot ? 1 : parts::slots);
  }
  static std::uint64_t count_in(counter const& word) noexcept {
    return word.load(std::memory_order_seq_cst) & (closed - 1);
  }
  [[nodiscard]] bool nobody_inside(bool coordinated_too) const noexcept {
    for (slot const& one : slots_) {
      if (count_in(one.inside[0]) != 0) return false;
      if (coordinated_too && count_in(one.inside[1]) != 0) return false;
    }
    return true;
  }
  void step_out(counter& inside) noexcept {
    if constexpr (Mistake == mistake::asks_who_waits_before_it_goes) {
      const bool somebody_waits = waiting_.load(std::memory_order_seq_cst) != 0;
      inside.fetch_sub(1, std::memory_order_seq_cst);
      if (somebody_waits) wake();
    } else {
      inside.fetch_sub(1, std::memory_order_seq_cst);
      if constexpr (Mistake == mistake::goes_without_waking) return;
      if (waiting_.load(std::memory_order_seq_cst) != 0) wake();
    }
  }
  void wake() noexcept {
    if constexpr (Mistake != mistake::wakes_without_the_mutex) std::lock_guard turn{*mutex_};
    changed_.notify_all();
  }

  std::array<slot, parts::slots> slots_{};
  std::array<std::uint64_t, 2> times_closed_{};
  counter waiting_{0};
  parts::mutex* mutex_;
  parts::condition_variable changed_;
};

/// The words of either reader indicator, as they are constructed; seeds name them.
std::vector<std::string_view> words() {
  return {"inside", "inside", "inside", "inside", "waiting"};
}

template <class Indicator>
struct explored_threading {
  using slot = threading_slot;
  static constexpr bool checks_outer_lock = false;
  using mutex = interleavings::mutex;
  using reader_indicator = Indicator;
};
using right = detail::basic_shared_reader_indicator<interleavings::parts>;

/// A gate, and what its users do with it: they keep plain notes of who is where, which nobody but
/// the scheduler can tear.
template <class Indicator>
struct world {
  using gate_type = discard_gate<explored_threading<Indicator>>;

  gate_type gate;
  std::array<unsigned, 2> discarding{};
  std::array<unsigned, 2> forbidden{};
  unsigned granted = 0;  // permits so far
  unsigned inside = 0;   // permits that have not been given back
  std::array<interleavings::page, 2> pages{};
  std::stop_source stop;

  static std::size_t index(discard_kind kind) { return static_cast<std::size_t>(kind); }

  void discard(std::size_t page, discard_kind kind = discard_kind::uncoordinated,
               bool must_be_granted = false) {
    struct note_of_the_end {  // made before the permit, so it ends after it
      unsigned* inside = nullptr;
      ~note_of_the_end() {
        if (inside != nullptr) *inside -= 1;
      }
    } ended;
    const auto permit = gate.permit(kind);
    if (!permit) {
      if (must_be_granted) explorer::current().fail("a discard was inhibited that nobody forbids");
      return;
    }
    if (forbidden[index(kind)] != 0)
      explorer::current().fail("a discard began although a hold that forbids it stands");
    granted += 1;
    inside += 1;
    ended.inside = &inside;
    discarding[index(kind)] += 1;
    explorer::current().act("discards");
    pages[page].discard();
    discarding[index(kind)] -= 1;
  }
  /// While whatever forbids discards stands: a device uses the pages. `forbids_coordinated`: else
  /// it may look at page 0 only.
  void use(bool forbids_coordinated) {
    if (discarding[0] != 0 || (forbids_coordinated && discarding[1] != 0)) {
      explorer::current().fail("a hold was granted while a discard that it forbids is running");
    }
    forbidden[0] += 1;
    forbidden[1] += forbids_coordinated ? 1U : 0U;
    explorer::current().act("the device uses its pages");
    pages[0].use();
    if (forbids_coordinated) pages[1].use();
    forbidden[0] -= 1;
    forbidden[1] -= forbids_coordinated ? 1U : 0U;
  }
  /// As a container holds: with an entry of its own.
  template <class Limits = detail::wait_limits>
  void hold(hold_kind kind, Limits const& how = {}) {
    detail::hold_entry mine{"container"};
    const unsigned granted_before = granted;
    const bool nobody_before = inside == 0;
    explorer::current().sees(granted_before * 2 + (nobody_before ? 1U : 0U));
    const auto held = gate.raise(mine, kind, 1, how);
    if (!held && !how.wait && nobody_before && granted == granted_before)
      explorer::current().fail("a hold was refused although nothing was discarding");
    if (held) {
      use(kind == hold_kind::any);
      gate.lower(mine, 1);
    }
    if (mine.count() != 0)
      explorer::current().fail("a hold that was refused or given back is still counted");
    if (std::is_same_v<Limits, detail::wait_limits> && !held && how.wait)
      explorer::current().fail("a hold without a limit was refused");
  }
  /// As anybody else does.
  void hold_by_name(hold_kind kind) {
    const auto mine = gate.hold(kind, "vhost");
    if (mine) use(kind == hold_kind::any);
  }
  void suspend() {
    const auto mine = gate.suspend("snapshot");
    use(true);
  }
  void request_stop() {
    explorer::current().act("requests stop");
    explorer::current().environment_changes();
    stop.request_stop();
  }
};

template <class Indicator>
struct setting {
  const char* name;
  std::function<std::vector<actor>(world<Indicator>&)> threads;
};

constexpr auto uncoordinated = discard_kind::uncoordinated;
constexpr auto coordinated = discard_kind::coordinated;
constexpr detail::wait_limits impatient{.wait = false};
constexpr detail::wait_until until_some_moment{std::chrono::steady_clock::time_point{}};

/// Who meets at the gate.
template <class Indicator>
std::vector<setting<Indicator>> settings() {
  using w = world<Indicator>;
  return {
      {"a discard and a hold",
       [](w& it) -> std::vector<actor> {
         return {{"discarder", 0, [&] { it.discard(0); }},
                 {"taker", 0, [&] { it.hold(hold_kind::any); }}};
       }},
      {"two discards one after the other, two holds one after the other",
       [](w& it) -> std::vector<actor> {
         return {{"discarder", 0,
                  [&] {
                    it.discard(0);
                    it.discard(1);
                  }},
                 {"taker", 0, [&] {
                    it.hold(hold_kind::any);
                    it.hold(hold_kind::uncoordinated);
                  }}};
       }},
      {"two discarders and a hold",
       [](w& it) -> std::vector<actor> {
         return {{"discarder", 0, [&] { it.discard(0); }},
                 {"another", 1, [&] { it.discard(1); }},
                 {"taker", 0, [&] { it.hold(hold_kind::any); }}};
       }},
      {"two discarders that share a counter, and a hold",
       [](w& it) -> std::vector<actor> {
         return {{"discarder", 1, [&] { it.discard(0); }},
                 {"another", 1, [&] { it.discard(1); }},
                 {"taker", 0, [&] { it.hold(hold_kind::any); }}};
       }},
      {"both kinds of discard and an uncoordinated hold",
       [](w& it) -> std::vector<actor> {
         return {{"discarder", 0, [&] { it.discard(0); }},
                 {"virtio-mem", 1, [&] { it.discard(1, coordinated, true); }},
                 {"taker", 0, [&] { it.hold(hold_kind::uncoordinated); }}};
       }},
      {"a discard and two holds",
       [](w& it) -> std::vector<actor> {
         return {{"discarder", 0, [&] { it.discard(0); }},
                 {"taker", 0, [&] { it.hold(hold_kind::any); }},
                 {"another", 0, [&] { it.hold(hold_kind::any); }}};
       }},
      {"a discard, a hold and one that does not wait",
       [](w& it) -> std::vector<actor> {
         return {{"discarder", 0, [&] { it.discard(0); }},
                 {"taker", 0, [&] { it.hold(hold_kind::any); }},
                 {"trier", 0, [&] { it.hold(hold_kind::any, impatient); }}};
       }},
      {"a discard, a hold and one with a deadline",
       [](w& it) -> std::vector<actor> {
         return {{"discarder", 0, [&] { it.discard(0); }},
                 {"taker", 0, [&] { it.hold(hold_kind::uncoordinated); }},
                 {"patient", 0, [&] { it.hold(hold_kind::any, until_some_moment); }}};
       }},
      {"a discard, a hold with a stop token, and who requests it",
       [](w& it) -> std::vector<actor> {
         return {{"discarder", 0, [&] { it.discard(0); }},
                 {"taker", 0,
                  [&] {
                    const auto token = it.stop.get_token();
                    it.hold(hold_kind::any, detail::wait_unless_stopped{&token});
                  }},
                 {"stopper", 0, [&] { it.request_stop(); }}};
       }},
      {"a discard, a hold by name and a suspension",
       [](w& it) -> std::vector<actor> {
         return {{"discarder", 0, [&] { it.discard(1, coordinated); }},
                 {"taker", 0, [&] { it.hold_by_name(hold_kind::uncoordinated); }},
                 {"snapshot", 0, [&] { it.suspend(); }}};
       }},
      {"two discarders and two holds",
       [](w& it) -> std::vector<actor> {
         return {{"discarder", 0, [&] { it.discard(0); }},
                 {"another", 1, [&] { it.discard(1, uncoordinated); }},
                 {"taker", 0, [&] { it.hold(hold_kind::uncoordinated); }},
                 {"trier", 0, [&] { it.hold(hold_kind::uncoordinated, impatient); }}};
       }},
  };
}

template <class Indicator>
findings explore(setting<Indicator> const& one, std::vector<weakening> weak,
                 std::string_view wanted, bool remembers = true) {
  explorer search{words(), std::move(weak), wanted};
  if (!remembers) search.forget_states();
  return search.explore<world<Indicator>>(
      [] { return std::make_unique<world<Indicator>>(); }, one.threads,
      [](world<Indicator>& it) {
        if (it.gate.counts() != gate_counts{})
          explorer::current().fail("somebody still holds the gate when all have ended");
        for (const discard_kind kind : {uncoordinated, coordinated}) {
          if (const auto permit = it.gate.permit(kind); !permit)
            explorer::current().fail("the gate is closed when all have ended");
        }
      });
}

constexpr std::size_t all_settings = 11;
/// The last one has most of the states, and seeds are found long before it.
constexpr std::size_t small_settings = all_settings - 1;
/// A sanitizer sees one thread that switches stacks, whatever it explores: that the scheduler
/// itself is clean, a few settings show.
constexpr std::size_t explored_here = tether_test::slowdown == 1   ? all_settings
                                      : tether_test::slowdown < 16 ? small_settings
                                                                   : 3;
constexpr std::size_t compared_here = tether_test::slowdown == 1 ? small_settings : 2;

/// The first failure in any of the first `count` settings.
template <class Indicator>
findings explore_all(std::size_t count, std::vector<weakening> const& weak = {},
                     std::string_view wanted = {}, bool print = false) {
  findings all;
  const auto list = settings<Indicator>();
  REQUIRE(list.size() == all_settings);
  for (std::size_t i = 0; i < count && all.failure.empty(); ++i) {
    const auto found = explore(list[i], weak, wanted);
    if (print) {
      std::printf("  %-64s %14llu schedules %9llu states %9llu steps\n", list[i].name,
                  static_cast<unsigned long long>(found.schedules),
                  static_cast<unsigned long long>(found.states),
                  static_cast<unsigned long long>(found.steps));
    }
    all.schedules += found.schedules;
    all.states += found.states;
    all.steps += found.steps;
    if (!found.failure.empty())
      all.failure = found.failure + "\n  where there are: " + list[i].name;
  }
  return all;
}

template <class Indicator>
void must_be_found(std::string_view reason, std::vector<weakening> const& weak = {}) {
  const auto found = explore_all<Indicator>(small_settings, weak, reason);
  CHECK_MESSAGE(found.failure.starts_with(reason), "expected: ", std::string{reason});
}

constexpr std::string_view granted_too_early =
    "a hold was granted while a discard that it forbids is running";
constexpr std::string_view began_too_late =
    "a discard began although a hold that forbids it stands";
constexpr std::string_view sleeps_for_ever =
    "all threads are blocked (taker sleeps, nobody can wake them)";
constexpr std::string_view refused_needlessly =
    "a hold was refused although nothing was discarding";
constexpr std::string_view unordered = "data race";

}  // namespace

TEST_CASE(
    "no order of the gate's atomic operations lets a discard in under a hold, forgets a sleeper or "
    "leaves a count behind") {
  const auto found = explore_all<right>(explored_here, {}, {}, true);
  CHECK_MESSAGE(found.failure.empty(), found.failure);
  CHECK(found.states > 1000);
  std::printf(
      "figures: gate interleavings: %llu schedules, %llu states, %llu steps, bound: none (%u "
      "settings, every preemption)\n",
      static_cast<unsigned long long>(found.schedules),
      static_cast<unsigned long long>(found.states), static_cast<unsigned long long>(found.steps),
      static_cast<unsigned>(explored_here));
}

TEST_CASE("a mistake in the order of the gate's steps is found for its own reason") {
  must_be_found<mistaken_indicator<mistake::looks_before_it_counts>>(granted_too_early);
  must_be_found<mistaken_indicator<mistake::looks_before_it_counts>>(began_too_late);
  must_be_found<mistaken_indicator<mistake::counts_before_it_looks>>(refused_needlessly);
  must_be_found<mistaken_indicator<mistake::closes_one_slot>>(began_too_late);
  must_be_found<mistaken_indicator<mistake::counts_but_does_not_drain>>(granted_too_early);
  must_be_found<mistaken_indicator<mistake::wakes_without_the_mutex>>(sleeps_for_ever);
  must_be_found<mistaken_indicator<mistake::asks_who_waits_before_it_goes>>(sleeps_for_ever);
  must_be_found<mistaken_indicator<mistake::goes_without_waking>>(sleeps_for_ever);
}

TEST_CASE(
    "the copy of the reader indicator that the mistakes are made in is faithful: it walks the very "
    "states that the reader indicator does") {
  const auto copy = explore_all<mistaken_indicator<mistake::none>>(compared_here);
  const auto original = explore_all<right>(compared_here);
  CHECK(copy.failure == "");
  CHECK(copy.schedules == original.schedules);
  CHECK(copy.states == original.states);
}

TEST_CASE("every order that the gate needs: one step weaker, and it is found for its own reason") {
  using enum std::memory_order;
  // "Go, then look whether somebody waits", and "say that you wait, then look whether they have
  // gone".
  must_be_found<right>(sleeps_for_ever, {{"inside", operation::subtract, acq_rel}});
  must_be_found<right>(sleeps_for_ever, {{"inside", operation::load, acquire}});
  must_be_found<right>(sleeps_for_ever, {{"waiting", operation::load, acquire}});
  must_be_found<right>(sleeps_for_ever, {{"waiting", operation::add, acq_rel}});
  // What a discard did to the page is known to the hold that waited for it, and what a device did
  // to the next discard.
  must_be_found<right>(unordered, {{"inside", operation::subtract, acquire}});
  must_be_found<right>(unordered, {{"inside", operation::load, relaxed}});
  must_be_found<right>(unordered, {{"inside", operation::exchange, relaxed}});
}

TEST_CASE(
    "three orders are stronger than needed, and cost nothing: closing may be relaxed, entering may "
    "acquire, not to wait any more may be relaxed") {
  using enum std::memory_order;
  const std::size_t count = tether_test::slowdown == 1 ? 4 : 1;
  CHECK(explore_all<right>(count, {{"inside", operation::add, relaxed}}).failure == "");
  CHECK(explore_all<right>(count, {{"inside", operation::exchange, acquire}}).failure == "");
  CHECK(explore_all<right>(count, {{"waiting", operation::subtract, relaxed}}).failure == "");
}

TEST_CASE(
    "an order that the search was not told of is refused, because its states would leave it out") {
  struct undeclared {
    interleavings::atomic<std::uint32_t> word{0};
  };
  explorer search{{"word"}};
  const auto found = search.explore<undeclared>(
      [] { return std::make_unique<undeclared>(); },
      [](undeclared& it) -> std::vector<actor> {
        return {{"reader", 0, [&] { static_cast<void>(it.word.load(std::memory_order_acquire)); }}};
      },
      [](undeclared&) {});
  CHECK(
      found.failure.starts_with("an order weaker than seq_cst on 'word', which was not declared"));
}

TEST_CASE(
    "no schedule is lost to a state that was met before: running every single one counts as many") {
  const auto pair = settings<right>().front();
  std::vector<std::vector<weakening>> orders{{}};
  if (tether_test::slowdown < 16)
    orders.push_back({{"waiting", operation::subtract, std::memory_order_relaxed}});
  for (auto const& weak : orders) {
    const auto counted = explore(pair, weak, {});
    const auto run = explore(pair, weak, {}, false);
    CHECK(counted.failure == "");
    CHECK(run.failure == "");
    CHECK(counted.schedules == run.schedules);
    CHECK(counted.steps < run.steps);
  }
}

TEST_CASE("the memory that the search keeps shows what C++ allows, and no more") {
  // Message passing: data, then flag; and store buffering: each counts, then looks at the other.
  struct two_words {
    interleavings::atomic<std::uint32_t> data{0};
    interleavings::atomic<std::uint32_t> flag{0};
    std::array<std::uint32_t, 2> read{};
    void tidy() {
      for (auto* one : {&data, &flag})
        one->fetch_sub(one->load(std::memory_order_seq_cst), std::memory_order_seq_cst);
    }
  };
  using enum std::memory_order;
  const auto passes = [](std::memory_order writes, std::memory_order reads) {
    explorer search{{"data", "flag"},
                    {{"data", operation::add, relaxed},
                     {"data", operation::load, relaxed},
                     {"flag", operation::add, writes},
                     {"flag", operation::load, reads}}};
    return search
        .explore<two_words>([] { return std::make_unique<two_words>(); },
                            [](two_words& it) -> std::vector<actor> {
                              return {{"writer", 0,
                                       [&] {
                                         it.data.fetch_add(1, seq_cst);
                                         it.flag.fetch_add(1, seq_cst);
                                       }},
                                      {"reader", 0, [&] {
                                         it.read = {it.flag.load(seq_cst), it.data.load(seq_cst)};
                                       }}};
                            },
                            [](two_words& it) {
                              if (it.read[0] == 1 && it.read[1] == 0)
                                explorer::current().fail("the flag came without the data");
                              it.tidy();
                            })
        .failure.empty();
  };
  CHECK(passes(release, acquire));
  CHECK_FALSE(passes(relaxed, acquire));
  CHECK_FALSE(passes(release, relaxed));

  const auto excludes = [](std::memory_order adds, std::memory_order looks) {
    explorer search{{"data", "flag"},
                    {{"data", operation::add, adds},
                     {"flag", operation::add, adds},
                     {"data", operation::load, looks},
                     {"flag", operation::load, looks}}};
    return search
        .explore<two_words>([] { return std::make_unique<two_words>(); },
                            [](two_words& it) -> std::vector<actor> {
                              return {{"left", 0,
                                       [&] {
                                         it.data.fetch_add(1, seq_cst);
                                         it.read[0] = it.flag.load(seq_cst);
                                       }},
                                      {"right", 0, [&] {
                                         it.flag.fetch_add(1, seq_cst);
                                         it.read[1] = it.data.load(seq_cst);
                                       }}};
                            },
                            [](two_words& it) {
                              if (it.read[0] == 0 && it.read[1] == 0)
                                explorer::current().fail("neither saw the other");
                              it.tidy();
                            })
        .failure.empty();
  };
  CHECK(excludes(seq_cst, seq_cst));
  CHECK_FALSE(excludes(acq_rel, acquire));
  CHECK_FALSE(excludes(acq_rel, seq_cst));
  CHECK_FALSE(excludes(seq_cst, acquire));
}

}  // namespace exhaustive_gate_interleavings
