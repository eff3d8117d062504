// SPDX-License-Identifier: BSL-1.0
// The plans walked by hand, and every plan with one step dropped, exchanged with its neighbour, or robbed of its
// undo: `well_formed` refuses each of them.
#include <tether/attach/lifecycle.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace tether {
namespace {

using enum act;
using op = lifecycle_operation;

static_assert(policy<standard_lifecycle> && well_formed_lifecycle<standard_lifecycle>);

/// The acts that a plan performs when the call number `fails` (from 0) ends as `how`, as a number in base 16; then how it ended.
struct walk {
  std::uint64_t acts = 0;
  ending ended = ending::none;
  friend constexpr bool operator==(walk, walk) = default;
};
template <class Lifecycle = standard_lifecycle>
constexpr walk walked(op what, int fails = -1, step_outcome how = step_outcome::failed, int fails_too = -1) {
  walk all;
  cursor at{what};
  for (int calls = 0; at.ended == ending::none; ++calls) {
    const act now = act_at<Lifecycle>(at);
    all.acts = all.acts * 16 + static_cast<std::uint64_t>(now);
    const bool wrong = can_fail(now) && (calls == fails || calls == fails_too);
    at = advance<Lifecycle>(at, !wrong ? step_outcome::done : calls == fails ? how : step_outcome::failed);
  }
  all.ended = at.ended;
  return all;
}
template <class... Acts>
constexpr walk acts(ending ended, Acts... each) {
  walk all{0, ended};
  ((all.acts = all.acts * 16 + static_cast<std::uint64_t>(each)), ...);
  return all;
}

// Forward, as law 4, 5 and 9 say.
static_assert(walked(op::attach_first) == acts(ending::finished, hold, join, replay, commit));
static_assert(walked(op::attach_next) == acts(ending::finished, hold, join, commit));
static_assert(walked(op::open) == acts(ending::finished, judge, hold, open, commit, settle));
static_assert(walked(op::close) == acts(ending::finished, close, commit, settle));
static_assert(walked(op::detach_next) == acts(ending::finished, leave, commit, settle));
static_assert(walked(op::detach_last) == acts(ending::finished, withdraw, leave, commit, settle));

// Backward, the hold last (law 6).
static_assert(walked(op::attach_first, 0) == acts(ending::rolled_back, hold));
static_assert(walked(op::attach_first, 1) == acts(ending::rolled_back, hold, join, settle));
static_assert(walked(op::attach_first, 2) == acts(ending::rolled_back, hold, join, replay, leave, settle));
static_assert(walked(op::attach_next, 1) == acts(ending::rolled_back, hold, join, settle));
static_assert(walked(op::open, 0) == acts(ending::rolled_back, judge));
static_assert(walked(op::open, 1) == acts(ending::rolled_back, judge, hold));
static_assert(walked(op::open, 2) == acts(ending::rolled_back, judge, hold, open, settle));
static_assert(walked(op::close, 0) == acts(ending::rolled_back, close));
static_assert(walked(op::detach_next, 0) == acts(ending::rolled_back, leave));
static_assert(walked(op::detach_last, 0) == acts(ending::rolled_back, withdraw));
static_assert(walked(op::detach_last, 1) == acts(ending::rolled_back, withdraw, leave, replay));

// Stuck, or an undo that fails: nothing more is touched, so the holds stay.
static_assert(walked(op::attach_first, 1, step_outcome::stuck) == acts(ending::diverged, hold, join));
static_assert(walked(op::attach_first, 2, step_outcome::stuck) == acts(ending::diverged, hold, join, replay));
static_assert(walked(op::attach_first, 2, step_outcome::failed, 3) == acts(ending::diverged, hold, join, replay, leave));
static_assert(walked(op::detach_last, 1, step_outcome::failed, 2) == acts(ending::diverged, withdraw, leave, replay));
static_assert(walked(op::open, 2, step_outcome::stuck) == acts(ending::diverged, judge, hold, open));
static_assert(walked(op::close, 0, step_outcome::stuck) == acts(ending::diverged, close));

// ---- mutants ----

/// One plan of the standard lifecycle, changed.
template <op Which, auto Change>
struct mutant {
  using slot = lifecycle_slot;
  static constexpr plan plan_of(op what) noexcept {
    plan steps = standard_lifecycle::plan_of(what);
    if (what == Which) Change(steps);
    return steps;
  }
};
template <std::size_t At>
constexpr auto drop = [](plan& steps) {
  for (std::size_t i = At; i + 1 < plan::most; ++i) steps.steps[i] = steps.steps[i + 1];
  steps.steps[plan::most - 1] = {};
};
template <std::size_t At>
constexpr auto exchange = [](plan& steps) { std::swap(steps.steps[At], steps.steps[At + 1]); };
template <std::size_t At>
constexpr auto no_undo = [](plan& steps) { steps.steps[At].backward = nothing; };
/// The forward acts alone change places, the undos stay where they were.
template <std::size_t At>
constexpr auto exchange_forward = [](plan& steps) { std::swap(steps.steps[At].forward, steps.steps[At + 1].forward); };
template <change To>
constexpr auto make = [](plan& steps) { steps.makes = To; };

template <op Which, auto Change>
constexpr bool refused = !well_formed<mutant<Which, Change>>(Which);

template <op Which, std::size_t... At>
constexpr std::uint64_t dropped(std::index_sequence<At...>) {
  return (... + (refused<Which, drop<At>> ? std::uint64_t{0} : std::uint64_t{1} << At));
}
template <op Which, std::size_t... At>
constexpr std::uint64_t exchanged(std::index_sequence<At...>) {
  return (std::uint64_t{0} + ... + (refused<Which, exchange<At>> ? std::uint64_t{0} : std::uint64_t{1} << At));
}
template <op Which, std::size_t... At>
constexpr std::uint64_t robbed(std::index_sequence<At...>) {
  return (... + (standard_lifecycle::plan_of(Which).steps[At].backward == nothing || refused<Which, no_undo<At>> ? std::uint64_t{0}
                                                                                                              : std::uint64_t{1} << At));
}
template <op Which>
constexpr std::size_t size_of = standard_lifecycle::plan_of(Which).size();
/// A bit for each mutant that `well_formed` accepts.
template <op Which>
constexpr std::uint64_t survivors_of_dropping = dropped<Which>(std::make_index_sequence<size_of<Which>>{});
template <op Which>
constexpr std::uint64_t survivors_of_exchanging = exchanged<Which>(std::make_index_sequence<size_of<Which> - 1>{});
template <op Which>
constexpr std::uint64_t survivors_of_robbing = robbed<Which>(std::make_index_sequence<size_of<Which>>{});

static_assert(survivors_of_dropping<op::attach_first> == 0);
static_assert(survivors_of_dropping<op::attach_next> == 0);
static_assert(survivors_of_dropping<op::open> == 0);
static_assert(survivors_of_dropping<op::close> == 0);
static_assert(survivors_of_dropping<op::detach_next> == 0);
static_assert(survivors_of_dropping<op::detach_last> == 0);
static_assert(survivors_of_exchanging<op::attach_first> == 0);
static_assert(survivors_of_exchanging<op::attach_next> == 0);
static_assert(survivors_of_exchanging<op::open> == 0);
static_assert(survivors_of_exchanging<op::close> == 0);
static_assert(survivors_of_exchanging<op::detach_next> == 0);
static_assert(survivors_of_exchanging<op::detach_last> == 0);
static_assert(survivors_of_robbing<op::attach_first> == 0);
static_assert(survivors_of_robbing<op::attach_next> == 0);
static_assert(survivors_of_robbing<op::open> == 0);
static_assert(survivors_of_robbing<op::detach_last> == 0);

static_assert(refused<op::attach_first, exchange_forward<0>> && refused<op::attach_first, exchange_forward<1>>);
static_assert(refused<op::detach_last, exchange_forward<0>> && refused<op::detach_last, exchange_forward<1>>);
static_assert(refused<op::attach_first, make<change::none>> && refused<op::close, make<change::none>>);

/// Historical mistakes: QEMU's detach gives the hold back first; joining an existing container before holding.
constexpr auto release_first = [](plan& steps) {
  steps.steps = {{{settle}, {withdraw, replay}, {leave}, {commit}}};
};
static_assert(refused<op::detach_last, release_first>);
constexpr auto join_first = [](plan& steps) { steps.steps = {{{join, leave}, {hold}, {commit}}}; };
static_assert(refused<op::attach_next, join_first>);
/// A hold that is given back before what it protects is undone cannot even be written down; one undone by nothing is refused.
static_assert(!well_formed_lifecycle<mutant<op::attach_first, no_undo<0>>>);

}  // namespace
}  // namespace tether
