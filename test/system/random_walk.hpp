// SPDX-License-Identifier: BSL-1.0
// A random walk through the proof's own transition system, one operation at a time, and the backend
// calls in the course of it. Nothing here touches a kernel: `replayed_walk.hpp` does the same for
// real.
#pragma once

#include <tether/proof.hpp>
#include <tether/tether.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace in_machine {

using namespace tether;

/// One container, two groups, two devices in each; a permit lasts, so that things happen while a
/// discard is under way.
using walk_scope = proof::scope<1, 2, 2>;
using walk_world = proof::world<walk_scope>;
using walk_future = proof::successor<walk_scope>;

/// Random numbers that are the same for the same seed everywhere (splitmix64).
class dice {
 public:
  explicit dice(std::uint64_t seed) noexcept : state_{seed} {}
  /// One of 0 to `sides` - 1. Requires: sides is not 0.
  [[nodiscard]] std::uint64_t roll(std::uint64_t sides) noexcept {
    state_ += 0x9e37'79b9'7f4a'7c15U;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30U)) * 0xbf58'476d'1ce4'e5b9U;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94d0'49bb'1331'11ebU;
    return (mixed ^ (mixed >> 31U)) % sides;
  }

 private:
  std::uint64_t state_;
};

/// A call that is part of an event. `kind` is empty for a call to KVM.
struct expected_call {
  std::string_view name;
  std::optional<backend_call> kind{};
  bool refused = false;
};

/// The calls of an event, where the guest has two sections: the page, and behind it one that is
/// never discarded. `half_way`: the page is mapped and the second section is not. A refused call
/// does not reach the kernel; what follows it rolls back what came before.
[[nodiscard]] inline std::vector<expected_call> calls_of(proof::event const& one, bool half_way) {
  const bool fails = one.how == outcome::failed;
  const auto call = [](backend_call kind, bool refused) {
    return expected_call{name_of(kind), kind, refused};
  };
  switch (one.what) {
    case act::acquire: return {call(backend_call::acquire, fails)};
    case act::join: return {call(backend_call::join, fails)};
    case act::leave: return {call(backend_call::leave, fails)};
    case act::open: return {call(backend_call::open, fails)};
    case act::bind: return {call(backend_call::bind, fails)};
    case act::close: return {call(backend_call::close, fails)};
    case act::add_to_kvm: return {{"tell KVM", {}, fails}};
    case act::remove_from_kvm: return {{"let KVM forget", {}, fails}};
    case act::replay:
      if (one.half_way) return {call(backend_call::map, false)};
      if (half_way) return {call(backend_call::map, true), call(backend_call::unmap, false)};
      if (fails) return {call(backend_call::map, true)};
      return {call(backend_call::map, false), call(backend_call::map, false)};
    case act::withdraw:
      if (fails) return {call(backend_call::quiesce, true)};
      return {call(backend_call::quiesce, false), call(backend_call::unmap, false),
              call(backend_call::unmap, false)};
    default: return {};  // a step of the gate or of the counts: no call to the backend
  }
}

/// One event of an operation: the state it leads to, and its calls.
struct walked_event {
  walk_future successor;
  std::vector<expected_call> calls;
  [[nodiscard]] bool of_container() const noexcept {
    return successor.by.who == proof::actor::container || successor.by.who == proof::actor::caller;
  }
};

/// An operation from rest to rest with whatever the balloon and the guest do meanwhile; or, between
/// operations, one step of theirs.
struct walked_operation {
  std::vector<walked_event> events;

  [[nodiscard]] bool of_container() const noexcept { return events.front().of_container(); }
  [[nodiscard]] proof::event const& begins() const noexcept { return events.front().successor.by; }
  [[nodiscard]] walk_world const& leads_to() const noexcept { return events.back().successor.here; }
  /// How the container's part of it ended.
  [[nodiscard]] ending ended() const noexcept {
    for (walked_event const& one : events) {
      for (const auto how : {ending::finished, ending::rolled_back, ending::diverged}) {
        for (std::size_t what = 0; what < operations; ++what) {
          if (one.successor.said.reached.has(static_cast<operation>(what), how)) return how;
        }
      }
    }
    return ending::none;
  }
  [[nodiscard]] std::string description() const {
    proof::sentence all{};
    for (walked_event const& one : events) proof::describe(all, one.successor.by, false) << "; ";
    return std::string{all.view()};
  }
};

/// What can be provoked in a real kernel: nothing that gets stuck; and the walks' memory is mapped
/// writable, so nothing is populated (`recorded_then_pinned` has read-only memory).
[[nodiscard]] constexpr bool happens_here(act what, outcome how) noexcept {
  return how != outcome::stuck && !(what == act::populate && how == outcome::failed);
}

/// Where a walk is, what all walks have reached, and what they had to skip. Reached is reached for
/// real: `replayed_walk` checks that an operation makes these calls and ends so.
template <class Abstraction>
struct walk {
  walk_world here{};
  proof::coverage reached{};
  std::uint64_t left_out = 0;  ///< futures that the machine has no groups or devices for

  /// The next operation. `feasible(event)`: whether this machine can do what a caller asks for.
  /// Nothing gets stuck; failures are rarer than successes; what no walk has reached is preferred.
  template <class Feasible>
  [[nodiscard]] walked_operation next(dice& chance, Feasible feasible) {
    walked_operation taken;
    bool replay_will_fail = false;
    do {
      walked_event one = choose(chance, feasible);
      one.calls = calls_of(one.successor.by, replay_will_fail);
      here = one.successor.here;
      reached.add(one.successor.said.reached);
      replay_will_fail = here.containers[0].replay_will_fail;
      taken.events.push_back(std::move(one));
    } while (!here.containers[0].at_rest() && !here.containers[0].diverged);
    return taken;
  }

 private:
  template <class Feasible>
  walked_event choose(dice& chance, Feasible feasible) {
    std::vector<walk_future> futures;
    std::vector<std::uint64_t> weights;
    std::uint64_t sum = 0;
    proof::transition<Abstraction, walk_scope>::for_each(here, [&](walk_future const& next) {
      if (!happens_here(next.by.what, next.by.how) || next.by.who == proof::actor::abandoner)
        return true;
      if (next.by.who == proof::actor::caller && !feasible(next.by)) {
        ++left_out;
        return true;
      }
      futures.push_back(next);
      weights.push_back(weight_of(next));
      sum += weights.back();
      return true;
    });
    std::uint64_t at = chance.roll(sum);
    std::size_t chosen = 0;
    for (; at >= weights[chosen]; ++chosen) at -= weights[chosen];
    return {futures[chosen], {}};
  }
  [[nodiscard]] std::uint64_t weight_of(walk_future const& next) const noexcept {
    using proof::actor;
    const bool fresh = !next.said.reached.lacks(reached).empty();
    const bool rare = next.by.how == outcome::failed || next.by.half_way;
    // refused at once
    const bool judged = next.by.who == actor::caller && next.by.what == act::nothing;
    const std::uint64_t usual = next.by.who == actor::permit ? 4 : rare || judged ? 2 : 10;
    return fresh ? 4 * usual : usual;
  }
};

namespace detail {

template <class Abstraction>
void reach_unless_stuck(cursor at, proof::coverage& all) {
  if (at.ended != ending::none) return all.add(at.in, at.ended);
  const act now = Abstraction::plan_table::act_at(at);
  for (const auto how : {outcome::done, outcome::failed}) {
    if (!proof::can_end<Abstraction>(now, how) || !happens_here(now, how)) continue;
    all.add(now, how);
    reach_unless_stuck<Abstraction>(Abstraction::plan_table::advance(at, how), all);
  }
}

}  // namespace detail

/// What walks must reach in all: the proof's own `demanded`, less what cannot be provoked.
template <class Abstraction>
[[nodiscard]] proof::coverage demanded_of_walks() {
  proof::coverage all{};
  for (std::size_t what = 0; what < operations; ++what) {
    const auto one = static_cast<operation>(what);
    if (Abstraction::lifecycle::plan_of(one).size() != 0)
      detail::reach_unless_stuck<Abstraction>(cursor{one}, all);
  }
  return all;
}

}  // namespace in_machine
