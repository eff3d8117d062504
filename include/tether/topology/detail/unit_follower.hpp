// SPDX-License-Identifier: BSL-1.0
// The sections of divided memory that containers map, as an intrusive list in the population. It is
// sorted by container, so every thread locks the containers in the same order (no deadlock).
//
//     population --> [A: 0..1 GiB] --> [A: 2..3 GiB] --> [B: 0..4 GiB]
//                     lock A once                         lock B
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/detail/unit_rules.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/label.hpp>

#include <functional>

namespace tether::detail {

/// How a change of units ended.
template <class T>
[[nodiscard]] unit_outcome outcome_of(result<T> const& of) noexcept {
  if (of) return unit_outcome::done;
  return of.error().rollback_failed() ? unit_outcome::stuck : unit_outcome::failed;
}

/// One section of divided memory in one container. Requires: it stays where it is while enrolled.
struct unit_follower {
  /// What the owner does. `begin` and `end` are called once for each owner, around the others.
  struct calls {
    /// Takes the owner's locks without waiting for an operation of its own. False: it is busy.
    bool (*begin)(unit_follower&) noexcept;
    void (*end)(unit_follower&) noexcept;
    /// Unmaps, or maps, what it has of the unit; returns whether there was anything to do. A
    /// failure changes nothing, or says that its rollback failed.
    result<bool> (*unmap)(unit_follower&, extent<block_offset> unit) noexcept;
    result<bool> (*map)(unit_follower&, extent<block_offset> unit) noexcept;
    /// It could not be told to go back to how it was: nothing of it is certain any more (law 6).
    void (*diverge)(unit_follower&, error const& why) noexcept;
  };

  calls const* how = nullptr;
  void* owner = nullptr;
  extent<block_offset> where{};
  label container{};     ///< the owner's name; under the population's lock
  bool changed = false;  ///< by the change in progress; under the owner's lock
  unit_follower* next = nullptr;
  unit_follower* previous = nullptr;
};

/// An intrusive list of them, by owner. Not thread-safe. Cost: of each call for a unit, one step
/// for each follower; of the others, see there.
class unit_followers {
 public:
  /// `near` is another one of the same owner in this list, if it knows one: then the cost is one
  /// step, else one for each follower.
  void insert(unit_follower& one, unit_follower* near = nullptr) noexcept {
    unit_follower** at = near != nullptr ? &near->next : &first_;
    unit_follower* before = near;
    while (near == nullptr && *at != nullptr && !std::less<>{}(one.owner, (*at)->owner)) {
      before = *at;
      at = &before->next;
    }
    one.next = *at;
    one.previous = before;
    if (one.next != nullptr) one.next->previous = &one;
    *at = &one;
  }
  /// Returns another one of the same owner, if there is one beside it. Requires: it is there.
  unit_follower* erase(unit_follower& one) noexcept {
    (one.previous != nullptr ? one.previous->next : first_) = one.next;
    if (one.next != nullptr) one.next->previous = one.previous;
    for (unit_follower* const beside : {one.previous, one.next})
      if (beside != nullptr && beside->owner == one.owner) return beside;
    return nullptr;
  }

  /// Takes the locks of all that map something of `unit`. Null: it has them. Else who is busy; then
  /// it has none.
  [[nodiscard]] unit_follower* begin_all(extent<block_offset> unit) noexcept {
    unit_follower* const busy =
        for_each_owner(unit, nullptr, [](unit_follower& one) { return one.how->begin(one); });
    if (busy != nullptr) end_all(unit, busy);
    return busy;
  }
  /// Gives back those of the owners before `behind`, null for all.
  void end_all(extent<block_offset> unit, unit_follower* behind = nullptr) noexcept {
    static_cast<void>(for_each_owner(unit, behind, [](unit_follower& one) {
      one.how->end(one);
      return true;
    }));
  }
  /// Unmaps the unit everywhere, or nowhere. Requires: their locks.
  [[nodiscard]] result<void> unmap(extent<block_offset> unit) noexcept {
    return apply(unit, &unit_follower::calls::unmap, &unit_follower::calls::map);
  }
  /// Maps it everywhere, or nowhere. Requires: their locks.
  [[nodiscard]] result<void> map(extent<block_offset> unit) noexcept {
    return apply(unit, &unit_follower::calls::map, &unit_follower::calls::unmap);
  }
  /// Maps it again wherever `unmap` has just unmapped it. Requires: their locks. Returns whether
  /// all could.
  bool map_again(extent<block_offset> unit) noexcept {
    return roll_back(unit, nullptr, &unit_follower::calls::map);
  }
  /// Maps it wherever that succeeds, and where the owner is not busy, one owner after the other.
  /// Returns the first failure; `busy(follower)` is that of a busy one.
  template <class Busy>
  [[nodiscard]] result<void> map_where_possible(extent<block_offset> unit, Busy busy) noexcept {
    result<void> first{};
    for (unit_follower* one = first_; one != nullptr; one = one->next) {
      if (!one->where.overlaps(unit)) continue;
      result<bool> done{false};
      if (one->how->begin(*one)) {
        done = one->how->map(*one, unit);
        one->how->end(*one);
      } else {
        done = failure(busy(*one));
      }
      if (first && !done) first = failure(done.error());
    }
    return first;
  }

 private:
  /// Calls `visit` for the first follower of each owner that maps something of `unit`, up to
  /// `behind`. Returns the one for which it answered false, or null.
  template <class Visit>
  unit_follower* for_each_owner(extent<block_offset> unit, unit_follower* behind,
                                Visit visit) noexcept {
    void const* last = nullptr;
    for (unit_follower* one = first_; one != behind && one != nullptr; one = one->next) {
      if (one->owner == last || !one->where.overlaps(unit)) continue;
      last = one->owner;
      if (!visit(*one)) return one;
    }
    return nullptr;
  }

  using call = result<bool> (*unit_follower::calls::*)(unit_follower&,
                                                       extent<block_offset>) noexcept;
  result<void> apply(extent<block_offset> unit, call act, call inverse) noexcept {
    for (unit_follower* one = first_; one != nullptr; one = one->next) {
      if (!one->where.overlaps(unit)) continue;
      auto done = (one->how->*act)(*one, unit);
      one->changed = done && *done;
      if (done) continue;
      const bool undone = roll_back(unit, one, inverse);
      return failure(undone ? done.error() : done.error().with_failed_rollback());
    }
    return {};
  }
  /// What a follower had not changed stays as it was: mapped again, a unit that its container goes
  /// without (law 24) could fail.
  bool roll_back(extent<block_offset> unit, unit_follower const* behind, call inverse) noexcept {
    bool all = true;
    for (unit_follower* one = first_; one != behind; one = one->next) {
      if (!one->where.overlaps(unit) || !one->changed) continue;
      auto undone = (one->how->*inverse)(*one, unit);
      if (undone) continue;
      one->how->diverge(*one, undone.error());
      all = false;
    }
    return all;
  }

  unit_follower* first_ = nullptr;
};

}  // namespace tether::detail
