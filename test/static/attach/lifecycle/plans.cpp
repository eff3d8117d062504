// SPDX-License-Identifier: BSL-1.0
// The plans walked by hand, forward and back.
#include <tether/attach/lifecycle/plans.hpp>

#include <cstdint>

namespace tether {
namespace {

using enum act;
using op = operation;

/// The acts that a plan performs when the call number `fails` (from 0) ends as `how`, as a number
/// in base `act_count`; then how it ended.
struct walk {
  std::uint64_t acts = 0;
  ending ended = ending::none;
  friend constexpr bool operator==(walk, walk) = default;
};
template <class Lifecycle = standard_lifecycle>
constexpr walk walked(op what, int fails = -1, outcome how = outcome::failed, int fails_too = -1) {
  walk all;
  cursor at{what};
  for (int calls = 0; at.ended == ending::none; ++calls) {
    const act now = act_at<Lifecycle>(at);
    all.acts = all.acts * act_count + static_cast<std::uint64_t>(now);
    const bool wrong = can_fail(now) && (calls == fails || calls == fails_too);
    at = advance<Lifecycle>(at, !wrong ? outcome::done : calls == fails ? how : outcome::failed);
  }
  all.ended = at.ended;
  return all;
}
template <class... Acts>
constexpr walk acts(ending ended, Acts... each) {
  walk all{0, ended};
  ((all.acts = all.acts * act_count + static_cast<std::uint64_t>(each)), ...);
  return all;
}

// Forward, as law 4, 5 and 9 say.
static_assert(walked(op::attach_first) ==
              acts(ending::finished, raise_holds, join, replay, commit));
static_assert(walked(op::attach_next) ==
              acts(ending::finished, raise_holds, populate, join, commit));
static_assert(walked(op::open) ==
              acts(ending::finished, judge, raise_holds, populate, open, commit, lower_holds));
static_assert(walked(op::close) == acts(ending::finished, close, commit, lower_holds));
static_assert(walked(op::detach_next) == acts(ending::finished, leave, commit, lower_holds));
static_assert(walked(op::detach_last) ==
              acts(ending::finished, withdraw, leave, commit, lower_holds));

// Backward, the hold last (law 6).
static_assert(walked(op::attach_first, 0) == acts(ending::rolled_back, raise_holds));
static_assert(walked(op::attach_first, 1) ==
              acts(ending::rolled_back, raise_holds, join, lower_holds));
static_assert(walked(op::attach_first, 2) ==
              acts(ending::rolled_back, raise_holds, join, replay, leave, lower_holds));
static_assert(walked(op::attach_next, 1) ==
              acts(ending::rolled_back, raise_holds, populate, lower_holds));
static_assert(walked(op::attach_next, 2) ==
              acts(ending::rolled_back, raise_holds, populate, join, lower_holds));
static_assert(walked(op::open, 0) == acts(ending::rolled_back, judge));
static_assert(walked(op::open, 1) == acts(ending::rolled_back, judge, raise_holds));
static_assert(walked(op::open, 2) ==
              acts(ending::rolled_back, judge, raise_holds, populate, lower_holds));
static_assert(walked(op::open, 3) ==
              acts(ending::rolled_back, judge, raise_holds, populate, open, lower_holds));
static_assert(walked(op::close, 0) == acts(ending::rolled_back, close));
static_assert(walked(op::detach_next, 0) == acts(ending::rolled_back, leave));
static_assert(walked(op::detach_last, 0) == acts(ending::rolled_back, withdraw));
static_assert(walked(op::detach_last, 1) == acts(ending::rolled_back, withdraw, leave, replay));

// Stuck, or an undo that fails: nothing more is touched, so the holds stay.
static_assert(walked(op::attach_first, 1, outcome::stuck) ==
              acts(ending::diverged, raise_holds, join));
static_assert(walked(op::attach_first, 2, outcome::stuck) ==
              acts(ending::diverged, raise_holds, join, replay));
static_assert(walked(op::attach_first, 2, outcome::failed, 3) ==
              acts(ending::diverged, raise_holds, join, replay, leave));
static_assert(walked(op::detach_last, 1, outcome::failed, 2) ==
              acts(ending::diverged, withdraw, leave, replay));
static_assert(walked(op::open, 3, outcome::stuck) ==
              acts(ending::diverged, judge, raise_holds, populate, open));
static_assert(walked(op::close, 0, outcome::stuck) == acts(ending::diverged, close));

// Single devices: law 4's other half. What closes takes the binding back.
using alone = lifecycle_of<attach_unit::device>;
static_assert(walked<alone>(op::attach_first) ==
              acts(ending::finished, judge, open, bind, raise_holds, join, replay, commit));
static_assert(walked<alone>(op::attach_next) ==
              acts(ending::finished, judge, open, bind, raise_holds, populate, join, commit));
static_assert(walked<alone>(op::detach_next) ==
              acts(ending::finished, leave, close, commit, lower_holds));
static_assert(walked<alone>(op::detach_last) ==
              acts(ending::finished, withdraw, leave, close, commit, lower_holds));
static_assert(walked<alone>(op::attach_first, 0) == acts(ending::rolled_back, judge));
static_assert(walked<alone>(op::attach_first, 2) ==
              acts(ending::rolled_back, judge, open, bind, close));
static_assert(walked<alone>(op::attach_first, 3) ==
              acts(ending::rolled_back, judge, open, bind, raise_holds, close));
static_assert(walked<alone>(op::attach_first, 4) ==
              acts(ending::rolled_back, judge, open, bind, raise_holds, join, lower_holds, close));
static_assert(walked<alone>(op::attach_first, 5) == acts(ending::rolled_back, judge, open, bind,
                                                         raise_holds, join, replay, leave,
                                                         lower_holds, close));
static_assert(walked<alone>(op::detach_last, 2) ==
              acts(ending::rolled_back, withdraw, leave, close, join, replay));
static_assert(walked<alone>(op::detach_last, 2, outcome::failed, 3) ==
              acts(ending::diverged, withdraw, leave, close, join));

// KVM: told before the pin, forgets after the last unmap, whichever way the operation goes.
using told = lifecycle_of<attach_unit::group, true>;
static_assert(walked<told>(op::attach_first) ==
              acts(ending::finished, raise_holds, acquire, add_to_kvm, join, replay, commit));
static_assert(walked<told>(op::attach_first, 4) == acts(ending::rolled_back, raise_holds, acquire,
                                                        add_to_kvm, join, replay, leave,
                                                        remove_from_kvm, release, lower_holds));
static_assert(walked<told>(op::detach_last) == acts(ending::finished, withdraw, leave,
                                                    remove_from_kvm, release, commit, lower_holds));
static_assert(walked<told>(op::detach_last, 2) ==
              acts(ending::rolled_back, withdraw, leave, remove_from_kvm, join, replay));
static_assert(walked<told>(op::open) == walked(op::open) &&
              walked<told>(op::close) == walked(op::close));
using told_alone = lifecycle_of<attach_unit::device, true>;
static_assert(walked<told_alone>(op::attach_first) == acts(ending::finished, judge, open,
                                                           add_to_kvm, bind, raise_holds, join,
                                                           replay, commit));
static_assert(walked<told_alone>(op::attach_next, 7) == acts(ending::finished, judge, open,
                                                             add_to_kvm, bind, raise_holds,
                                                             populate, join, commit));
static_assert(walked<told_alone>(op::detach_last, 3) == acts(ending::rolled_back, withdraw, leave,
                                                             remove_from_kvm, close, add_to_kvm,
                                                             join, replay));

// What a plan attaches: groups, unless it says otherwise.
struct silent {
  static constexpr plan plan_of(op what) noexcept { return standard_lifecycle::plan_of(what); }
};
static_assert(unit_of<silent> == attach_unit::group && unit_of<alone> == attach_unit::device);

}  // namespace
}  // namespace tether
