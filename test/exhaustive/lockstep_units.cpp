// SPDX-License-Identifier: BSL-1.0
// The real population, sources and listeners, and the model that is proven, are given the same
// operations and the same faults, and compared after each, with the calls of the backends. The code
// first; what the model is told is only how each call ended.
#include <tether/backend/software_iommu.hpp>
#include <tether/granule/edges.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/listen/dma_listener.hpp>
#include <tether/listen/observation.hpp>
#include <tether/proof/units/follower_steps.hpp>
#include <tether/proof/units/property.hpp>
#include <tether/proof/units/source_steps.hpp>
#include <tether/proof/units/state.hpp>
#include <tether/testing/recording.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/ram_block.hpp>
#include <tether/topology/unit_source.hpp>

#include <support/amount.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <sys/mman.h>
#include <vector>

namespace exhaustive_lockstep_units {

using namespace tether;
using namespace tether::proof;
using tether_test::must;

namespace {

constexpr std::uint64_t unit = 64 * KiB;  // one block: one call of a backend
constexpr guest_address ram_at{16 * MiB};

/// Where one thread plays all parts: a container at work is one whose lock cannot be had.
struct parted_lock {
  bool at_work = false;
  void lock() noexcept {}
  [[nodiscard]] bool try_lock() noexcept { return !at_work; }
  void unlock() noexcept {}
};

struct real_container {
  using listener_type = dma_listener<recording<software_iommu>, fixed_block<unit>, trim_edges,
                                     no_observation, parted_lock>;
  parted_lock lock;
  journal book;
  recording<software_iommu> iommu{book};
  listener_type listener{iommu, lock};
};

/// How one call ended, as a backend or the kernel had it.
struct ended_call {
  std::size_t container;
  bool map;
  unit_outcome how;
};

struct nested_operation {
  std::size_t which = 0;
  source_task task = source_task::rest;
  unit_outcome how = unit_outcome::done;
};

class lockstep {
  using scope = unit_scope<2, 2>;
  using world = unit_world<scope>;
  using successor = unit_successor<scope>;
  using abstraction_type = unit_abstraction<>;

 public:
  ~lockstep() {  // listeners unmap what is left, when the rest of this is gone
    for (auto& one : containers_) {
      one.book.before_each({});
      one.book.after_each({});
    }
  }
  explicit lockstep(std::uint64_t seed) : random_{seed} {
    must(divide(ram_, unit));
    for (auto& one : sources_) one.emplace(*ram_.backing().population());
    for (std::size_t i = 0; i < 2; ++i) {
      containers_[i].book.before_each([this](journal_entry const&) { strike(); });
      containers_[i].book.after_each([this, i](journal_entry const& one) {
        calls_.push_back({i, one.what == backend_call::map,
                          one.ended == call_outcome::done     ? unit_outcome::done
                          : one.ended == call_outcome::failed ? unit_outcome::failed
                                                              : unit_outcome::stuck});
      });
    }
    ram_.data()[0] = std::byte{1};
  }
  lockstep(lockstep const&) = delete;
  lockstep& operator=(lockstep const&) = delete;

  void run(std::uint64_t times) {
    for (std::uint64_t i = 0; i < times && agrees; ++i) one_operation();
  }

  bool agrees = true;
  std::string story;
  unit_coverage reached{};
  std::uint64_t operations = 0, struck = 0;

 private:
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }

  void one_operation() {
    ++operations;
    calls_.clear();
    nested_.reset();
    inhibited_ = below(5) == 0;
    no_memory_ = below(6) == 0;
    for (auto& one : containers_) {
      one.book.clear_faults();
      one.book.clear();
    }
    for (std::uint64_t faults = below(4); faults != 0; --faults) add_fault();
    std::optional<std::size_t> at_work;
    if (below(2) == 0) at_work = begin_work();
    if (below(2) == 0) {
      nest_ = false;
      source_operation(below(2));
    } else {
      nest_ = below(2) == 0;
      container_operation(below(2), at_work);
    }
    if (at_work) end_work(*at_work);
    compare();
  }
  void add_fault() {
    const error refused = error::from_errno("ioctl", ENOSPC);
    const auto kind = below(2) == 0 ? backend_call::map : backend_call::unmap;
    auto& book = containers_[below(2)].book;
    const std::uint64_t nth = 1 + below(2);
    switch (below(3)) {
      case 0: book.fail_at(kind, nth, refused); break;
      case 1: book.fail_at(kind, nth, refused.with_failed_rollback()); break;
      default: book.fail_after(kind, nth, refused); break;
    }
  }
  /// A container does something else under its lock.
  std::optional<std::size_t> begin_work() {
    const std::size_t which = below(2);
    if (!here_.containers[which].attached || !here_.containers[which].at_rest()) return {};
    begin(which, follower_task::work);
    containers_[which].lock.at_work = true;
    return which;
  }
  void end_work(std::size_t which) {
    containers_[which].lock.at_work = false;
    walk_container(which);
  }

  // The code, then the model.

  void source_operation(std::size_t which) {
    user_state const& now = here_.sources[which];
    const source_task task = !now.gave       ? source_task::discard
                             : below(2) != 0 ? source_task::populate
                                             : source_task::fence;
    const unit_outcome how = call_source(which, task);
    begin(which, task);
    if (!walk_source(which, how, task)) tell("a source's call ended otherwise");
  }
  unit_outcome call_source(std::size_t which, source_task task) {
    unit_source& one = *sources_[which];
    story += " s" + std::to_string(which) + std::string{name_of(task)};
    std::optional<hold<multi_threaded>> forbids;
    if (inhibited_) forbids.emplace(must(gate_.hold(hold_kind::any, "migration")));
    if (no_memory_) static_cast<void>(::mprotect(ram_.data(), unit, PROT_NONE));
    const auto permit = [this] { return gate_.permit(discard_kind::coordinated); };
    result<void> done{};
    if (task == source_task::discard) {
      const auto mine = permit();
      done = one.discard(0, mine);
    } else if (task == source_task::populate) {
      done = one.populate(0, permit);
    } else {
      done = one.populate_or_fence(0);
    }
    static_cast<void>(::mprotect(ram_.data(), unit, PROT_READ | PROT_WRITE));
    return tether::detail::outcome_of(done);
  }
  void container_operation(std::size_t which, std::optional<std::size_t> at_work) {
    if (at_work == which) return;
    real_container& one = containers_[which];
    follower_state const& now = here_.containers[which];
    const follower_task task = now.diverged   ? follower_task::abandon
                               : now.attached ? follower_task::detach
                                              : follower_task::attach;
    story += " c" + std::to_string(which) + std::string{name_of(task)};
    if (task == follower_task::abandon) {
      must(one.iommu.watched().abandon());
      one.listener.reset();
    } else {
      one.listener.begin(commit_kind::refusable);
      if (task == follower_task::attach) one.listener.add(all_);
      else one.listener.remove(all_);
      const auto done = one.listener.commit();
      if (done && one.listener.diverged()) tell("diverged, and says that all is well");
    }
    begin(which, task);
    walk_container(which);
  }
  /// In the midst of a container's call into its backend, a source comes.
  void strike() {
    if (!nest_ || nested_) return;
    ++struck;
    nested_.emplace();
    nested_->which = below(2);
    nested_->task = !here_.sources[nested_->which].gave ? source_task::discard : source_task::fence;
    if (nested_->task == source_task::fence && below(2) == 0) nested_->task = source_task::populate;
    nested_->how = call_source(nested_->which, nested_->task);
  }

  // The model: each step is one that its transition relation has.

  void begin(std::size_t which, source_task task) {
    take([&](auto&& visit) { source(which, visit); },
         [&](unit_event const& by) { return by.source_does == task; });
  }
  void begin(std::size_t which, follower_task task) {
    take([&](auto&& visit) { follower(which, visit); },
         [&](unit_event const& by) { return by.container_does == task; });
  }
  template <class Visit>
  void source(std::size_t which, Visit& visit) {
    static_cast<void>(source_steps<abstraction_type, scope>::for_each(here_, which, visit));
  }
  template <class Visit>
  void follower(std::size_t which, Visit& visit) {
    static_cast<void>(follower_steps<abstraction_type, scope>::for_each(here_, which, visit));
  }
  template <class ForEach, class Wanted>
  void take(ForEach for_each, Wanted wanted) {
    std::optional<successor> taken;
    auto visit = [&](successor const& next) {
      if (!taken && wanted(next.by)) taken = next;
      return !taken;
    };
    for_each(visit);
    if (!taken) return tell("the model has no such step");
    here_ = taken->here;
    last_ = taken->by;
    said_ = taken->said.reached;
    reached.add(taken->said.reached);
    if (taken->said.broken != 0 || broken_in_units(here_) != 0) tell("a property is broken");
  }
  bool walk_source(std::size_t which, unit_outcome how, source_task task) {
    user_state const& now = here_.sources[which];
    for (int steps = 0; agrees && now.doing != source_task::rest && steps < 50; ++steps) {
      take([&](auto&& visit) { source(which, visit); },
           [&](unit_event const& by) { return by.how == outcome_of_step(by); });
      if (last_.what >= unit_call::map && last_.what <= unit_call::unmap_again && agrees)
        calls_.pop_front();
    }
    // of one that is fenced only whether all has it
    if (last_.what == unit_call::agree) return how == unit_outcome::done;
    if (task == source_task::fence)
      return said_.has(task, unit_outcome::done) == (how == unit_outcome::done);
    return said_.has(task, how);
  }
  /// How the step that the model is about to take ended in the code.
  unit_outcome outcome_of_step(unit_event const& by) {
    switch (by.what) {
      case unit_call::bring_in: return no_memory_ ? unit_outcome::failed : unit_outcome::done;
      case unit_call::empty:
      case unit_call::give_back: return inhibited_ ? unit_outcome::failed : unit_outcome::done;
      case unit_call::map:
      case unit_call::map_again: return next_call(by.told, true);
      case unit_call::unmap:
      case unit_call::unmap_again: return next_call(by.told, false);
      default: return by.how;
    }
  }
  unit_outcome next_call(std::size_t container, bool map) {
    if (calls_.empty() || calls_.front().container != container || calls_.front().map != map) {
      tell("the code made another call than the model");
      return unit_outcome::done;
    }
    return calls_.front().how;
  }
  void walk_container(std::size_t which) {
    follower_state const& now = here_.containers[which];
    for (int steps = 0; agrees && !now.at_rest() && steps < 10; ++steps) {
      const bool calls = now.step == follower_step::call;
      if (calls && nested_) {
        begin(nested_->which, nested_->task);
        if (!walk_source(nested_->which, nested_->how, nested_->task))
          tell("a source's call in the midst ended otherwise");
      }
      const bool map = now.doing == follower_task::attach;
      const unit_outcome how = calls ? next_call(which, map) : unit_outcome::done;
      if (calls && agrees) calls_.pop_front();
      take([&](auto&& visit) { follower(which, visit); },
           [&](unit_event const& by) { return !calls || by.how == how; });
    }
  }

  void compare() {
    if (!agrees) return;
    if (!calls_.empty()) return tell("the code made a call that the model did not");
    population const& real = *ram_.backing().population();
    if (real.is_populated(0) != here_.present) return tell("populated");
    for (std::size_t i = 0; i < 2; ++i)
      if (sources_[i]->wants_gone(0) != here_.sources[i].wants) return tell("what a source wants");
    for (std::size_t i = 0; i < 2; ++i) {
      follower_state const& one = here_.containers[i];
      auto const& listener = containers_[i].listener;
      if (listener.diverged() != one.diverged) return tell("diverged");
      const bool without = one.followed && !one.mapped;
      if (listener.usage().discarded != (without ? unit : 0)) return tell("mapped and followed");
      if (!one.diverged && (listener.usage().bytes != 0) != one.mapped) return tell("mapped");
    }
    if (resident() != here_.memory_there) {
      // what is fenced comes with the first access
      if (here_.memory_there && here_.present && no_memory_) ram_.data()[0] = std::byte{1};
      else tell("the memory");
    }
  }
  [[nodiscard]] bool resident() const {
    unsigned char page = 0;
    return ::mincore(ram_.data(), 4096, &page) == 0 && (page & 1) != 0;
  }
  void tell(char const* what) {
    if (agrees) story += std::string{"; differs: "} + what;
    agrees = false;
  }

  ram_block ram_ = must(ram_block::allocate("ram", unit));
  const section all_{
      .where = {ram_at, ram_at + (unit - 1)}, .memory = &ram_.backing(), .name = "ram"};
  discard_gate<> gate_;
  std::array<std::optional<unit_source>, 2> sources_;
  std::array<real_container, 2> containers_{};  // told in the order of their addresses
  std::mt19937_64 random_;
  world here_{};
  unit_event last_{};
  unit_coverage said_{};
  std::deque<ended_call> calls_;
  bool inhibited_ = false, no_memory_ = false, nest_ = false;
  std::optional<nested_operation> nested_;
};

}  // namespace

TEST_CASE("the code and the model of units agree, whatever is asked and whatever fails") {
  unit_coverage reached{};
  std::uint64_t operations = 0, struck = 0;
  const std::uint64_t first = tether_test::seed();
  const std::uint64_t rounds = tether_test::amount(400);
  for (std::uint64_t seed = first; seed != first + rounds; ++seed) {
    lockstep both{seed};
    both.run(250);
    CAPTURE(seed);
    if (!both.agrees)
      FAIL(both.story.substr(both.story.size() > 400 ? both.story.size() - 400 : 0));
    reached.add(both.reached);
    operations += both.operations, struck += both.struck;
  }
  const unit_coverage missing = reached.lacks(demanded_of_units<unit_scope<2, 2>>());
  if (tether_test::slowdown == 1) CHECK(missing.empty());
  std::printf(
      "figures: units, the code and the model in lockstep: %llu operations, of which %llu in the "
      "midst of another: no difference\n",
      static_cast<unsigned long long>(operations), static_cast<unsigned long long>(struck));
}

}  // namespace exhaustive_lockstep_units
