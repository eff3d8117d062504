// SPDX-License-Identifier: BSL-1.0
// Checks lock order against the one that is written in inhibit/threading.hpp, and for cycles: each
// lock records what its thread held when it was requested, whether or not the thread had to wait.
// So a deadlock is found even if no run has met it.
//
//     thread 1: A, then B     thread 2: B, then A     ->     "a circle: A, then B, then A"
//
// Checked: the locks of gates, containers and balloons (`ordered_threading`), permits, and waits
// for discards. An address space's own two mutexes are not a parameter: a test marks their place by
// hand around its own transactions (`in_place_of`), so what commits take under them is checked. Not
// checked: the map's lock where a container takes it while it attaches and detaches, and the locks
// inside backends. Those are std::mutexes, and the thread sanitizer's own detector watches them
// wherever tests run under it.
#pragma once

#include <tether/inhibit/threading.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace tether_test {

/// As written in inhibit/threading.hpp. `unranked`: only checked for cycles.
enum class lock_rank : std::uint8_t {
  operation = 1,
  gate,
  topology,
  discard_state,
  container,
  backend,
  records,
  unranked
};

/// The graph of which lock was requested while which was held. Several may exist; a lock belongs to
/// the one that it was named in.
class lock_order {
 public:
  lock_order() = default;
  lock_order(lock_order const&) = delete;
  lock_order& operator=(lock_order const&) = delete;

  /// One sentence for each pair that is taken in a wrong order.
  [[nodiscard]] std::vector<std::string> violations() const {
    const std::lock_guard guard{mutex_};
    return violations_;
  }
  [[nodiscard]] bool broken() const noexcept { return broken_.load(std::memory_order_relaxed); }
  /// Pairs that were seen, in either order.
  [[nodiscard]] std::size_t pairs() const {
    const std::lock_guard guard{mutex_};
    std::size_t sum = 0;
    for (auto const& [from, to] : after_) sum += to.size();
    return sum;
  }

 private:
  friend class ordered_lock;
  friend class naming;

  std::uint32_t enroll(std::string name) {
    static std::atomic<std::uint32_t> numbers{0};
    const std::uint32_t id = ++numbers;
    const std::lock_guard guard{mutex_};
    names_.emplace(id, std::move(name));
    return id;
  }
  void note(std::uint32_t had, lock_rank rank_had, std::uint32_t wanted, lock_rank rank_wanted) {
    const std::lock_guard guard{mutex_};
    if (!after_[had].insert(wanted).second) return;
    if (had == wanted)
      return violated("is asked for by a thread that has it: '" + names_[had] + "'");
    if (rank_had != lock_rank::unranked && rank_wanted != lock_rank::unranked &&
        rank_had > rank_wanted) {
      return violated("'" + names_[wanted] + "' is asked for by a thread that has '" + names_[had] +
                      "', which comes after it");
    }
    if (std::vector<std::uint32_t> way; leads(wanted, had, way)) {
      std::string circle = "a circle: '" + names_[had] + "'";
      for (const auto one : way) circle += ", then '" + names_[one] + "'";
      violated(circle);
    }
  }
  bool leads(std::uint32_t from, std::uint32_t to, std::vector<std::uint32_t>& way) const {
    if (std::ranges::find(way, from) != way.end()) return false;
    way.push_back(from);
    if (from == to) return true;
    if (const auto next = after_.find(from); next != after_.end()) {
      for (const auto one : next->second) {
        if (leads(one, to, way)) return true;
      }
    }
    way.pop_back();
    return false;
  }
  void violated(std::string sentence) {
    broken_ = true;
    violations_.push_back(std::move(sentence));
  }

  mutable std::mutex mutex_;
  std::map<std::uint32_t, std::string> names_;
  std::map<std::uint32_t, std::set<std::uint32_t>> after_;
  std::vector<std::string> violations_;
  std::atomic<bool> broken_{false};
};

/// Names the locks that are constructed on this thread in its lifetime, in order of construction.
class naming {
 public:
  naming(lock_order& order, std::string owner, std::initializer_list<lock_rank> ranks)
      : order_{order}, owner_{std::move(owner)}, ranks_{ranks}, outer_{innermost()} {
    innermost() = this;
  }
  naming(naming const&) = delete;
  naming& operator=(naming const&) = delete;
  ~naming() { innermost() = outer_; }

 private:
  friend class ordered_lock;
  static naming*& innermost() noexcept {
    static thread_local naming* one = nullptr;
    return one;
  }
  static const char* name_of(lock_rank rank) noexcept {
    switch (rank) {
      case lock_rank::operation: return "operation";
      case lock_rank::gate: return "gate";
      case lock_rank::topology: return "topology";
      case lock_rank::discard_state: return "discard state";
      case lock_rank::container: return "container";
      case lock_rank::backend: return "backend";
      case lock_rank::records: return "records";
      case lock_rank::unranked: break;
    }
    return "lock";
  }

  lock_order& order_;
  std::string owner_;
  std::vector<lock_rank> ranks_;
  naming* outer_;
};

/// Anything that is taken in an order: a mutex, a permit, a writer's turn. Unnamed, it is not
/// checked.
class ordered_lock {
 public:
  ordered_lock() {
    auto* const names = naming::innermost();
    if (names == nullptr) return;
    if (!names->ranks_.empty()) {
      rank_ = names->ranks_.front();
      names->ranks_.erase(names->ranks_.begin());
    }
    order_ = &names->order_;
    id_ = order_->enroll(names->owner_ + ": " + naming::name_of(rank_));
  }
  ordered_lock(ordered_lock const&) = delete;
  ordered_lock& operator=(ordered_lock const&) = delete;

  /// About to be requested. `except` is released while waiting.
  void asked(ordered_lock const* except = nullptr) const {
    if (order_ == nullptr) return;
    for (ordered_lock const* had : mine()) {
      if (had->order_ != order_ || had == except) continue;
      // by this thread: it need not report a pair twice
      static thread_local std::unordered_set<std::uint64_t> seen;
      if (seen.insert(std::uint64_t{had->id_} << 32 | id_).second)
        order_->note(had->id_, had->rank_, id_, rank_);
    }
  }
  void taken() const { mine().push_back(this); }
  void released() const {
    auto& all = mine();
    if (const auto it = std::find(all.rbegin(), all.rend(), this); it != all.rend())
      all.erase(std::next(it).base());
  }

 private:
  static std::vector<ordered_lock const*>& mine() {
    static thread_local std::vector<ordered_lock const*> all;
    return all;
  }

  lock_order* order_ = nullptr;
  std::uint32_t id_ = 0;
  lock_rank rank_ = lock_rank::unranked;
};

/// A mutex with a rank.
class ordered_mutex {
 public:
  void lock() {
    place_.asked();
    mutex_.lock();
    place_.taken();
  }
  /// Waits for nobody, so it may be tried in any order.
  [[nodiscard]] bool try_lock() {
    if (!mutex_.try_lock()) return false;
    place_.taken();
    return true;
  }
  void unlock() {
    place_.released();
    mutex_.unlock();
  }
  [[nodiscard]] ordered_lock const& place() const noexcept { return place_; }

 private:
  std::mutex mutex_;
  ordered_lock place_;
};

/// For a scope that stands for a lock which cannot be replaced: a transaction of an address space.
class in_place_of {
 public:
  explicit in_place_of(ordered_lock const& lock) : lock_{lock} {
    lock_.asked();
    lock_.taken();
  }
  in_place_of(in_place_of const&) = delete;
  in_place_of& operator=(in_place_of const&) = delete;
  ~in_place_of() { lock_.released(); }

 private:
  ordered_lock const& lock_;
};

/// The reader indicator of many threads. A permit counts as a held lock; to drain is to request it
/// with the gate's mutex released.
class ordered_reader_indicator : public tether::detail::basic_shared_reader_indicator<
                                     tether::detail::parts_with<ordered_mutex>> {
  using base =
      tether::detail::basic_shared_reader_indicator<tether::detail::parts_with<ordered_mutex>>;

 public:
  explicit ordered_reader_indicator(ordered_mutex& gate) : base{gate}, gate_{&gate} {}

  [[nodiscard]] bool enter(tether::discard_kind kind, ticket& mine) noexcept {
    discards_.asked(&discards_);  // a second permit waits for nobody
    if (!base::enter(kind, mine)) return false;
    discards_.taken();
    return true;
  }
  void leave(tether::discard_kind kind, ticket const& mine) noexcept {
    discards_.released();
    base::leave(kind, mine);
  }
  template <class Limits>
  [[nodiscard]] tether::detail::drained drain(bool coordinated_too,
                                              std::unique_lock<ordered_mutex>& lock,
                                              Limits const& how) noexcept {
    if (how.wait) discards_.asked(&gate_->place());
    return base::drain(coordinated_too, lock, how);
  }

 private:
  ordered_mutex* gate_;
  ordered_lock discards_;
};

/// The threading policy with checked locks, for a gate, its containers and its balloons.
struct ordered_threading : tether::multi_threaded_with<ordered_mutex> {
  using reader_indicator = ordered_reader_indicator;
};

}  // namespace tether_test
