// SPDX-License-Identifier: BSL-1.0
// Mistakes with units of divided memory for the proof to find: made, nearly made, or made by
// others. Each is right but for one thing.
#pragma once

#include <tether/core/detail/unit_rules.hpp>
#include <tether/inhibit/kinds.hpp>
#include <tether/proof/units/machinery.hpp>

#include <cstddef>

namespace tether::seeds {

using proof::source_task;
using proof::unit_machinery;
using proof::unit_outcome;
using proof::unit_step;

struct discards_before_it_unmaps : unit_machinery {
  static constexpr unit_step after(source_task what, unit_step step, unit_outcome how) noexcept {
    if (what == source_task::discard && how == unit_outcome::done) {
      if (step == unit_step::lock) return unit_step::empty;
      if (step == unit_step::empty) return unit_step::tell;
      if (step == unit_step::tell) return unit_step::settle;
    }
    return unit_machinery::after(what, step, how);
  }
};
struct answers_before_it_maps : unit_machinery {
  static constexpr unit_step after(source_task what, unit_step step, unit_outcome how) noexcept {
    if (what == source_task::populate && how == unit_outcome::done) {
      if (step == unit_step::lock) return unit_step::settle;
      if (step == unit_step::settle) return unit_step::tell;
      if (step == unit_step::tell) return unit_step::ended;
    }
    return unit_machinery::after(what, step, how);
  }
};
/// The memory could not be discarded, and nobody maps it again.
struct leaves_it_unmapped : unit_machinery {
  static constexpr unit_step after(source_task what, unit_step step, unit_outcome how) noexcept {
    const unit_step next = unit_machinery::after(what, step, how);
    return next == unit_step::take_back ? unit_step::ended : next;
  }
};

/// An attach begins to map in the midst of a populate, and is told of nothing.
struct enrols_beside_a_populate : unit_machinery {
  static constexpr bool may_open(detail::telling_and_enrolling turns) noexcept {
    return !turns.open;
  }
};
/// Whoever discards or populates looks at no enrolment: one misses what came meanwhile,
struct tells_beside_an_enrolment : unit_machinery {
  static constexpr bool may_tell(detail::telling_and_enrolling) noexcept { return true; }
};
/// or, where it is told before it has mapped what is there, maps it twice.
struct enrols_twice : tells_beside_an_enrolment {
  static constexpr bool may_open(detail::telling_and_enrolling turns) noexcept {
    return !turns.open;
  }
  static constexpr bool follows_first = true;
};

/// An enrolment waits for its own end.
struct never_ends_an_enrolment : unit_machinery {
  static constexpr bool may_open(detail::telling_and_enrolling turns) noexcept {
    return unit_machinery::may_open(turns) && turns.enrolling == 0;
  }
};

struct undo_forgets_the_first : unit_machinery {
  static constexpr bool is_undone(bool changed, std::size_t at) noexcept {
    return changed && at != 0;
  }
};
/// A rollback maps in containers that had gone without the unit, and have no room for it.
struct undoes_what_was_not_done : unit_machinery {
  static constexpr bool is_undone(bool, std::size_t) noexcept { return true; }
};
struct populates_against_anothers_wish : unit_machinery {
  static constexpr detail::unit_task task_of_populate(detail::unit_record now, bool) noexcept {
    return now.present ? detail::unit_task::forget : detail::unit_task::change;
  }
};
/// A detach looks for what is mapped, and finds nothing of what is discarded.
struct forgets_to_withdraw_what_is_discarded : unit_machinery {
  static constexpr bool is_followed_after_unmapping(unit_outcome how, bool anything) noexcept {
    return !anything || unit_machinery::is_followed_after_unmapping(how, anything);
  }
};

// What got stuck is forgotten: by an enrolment, by a withdrawal, by a container that mapped a part
// of a unit, by a populate that gives back what it had brought in, by the next one.

struct forgets_a_stuck_enrolment : unit_machinery {
  static constexpr bool is_followed_after_mapping(unit_outcome how) noexcept {
    return how == unit_outcome::done;
  }
};
struct forgets_a_stuck_section : unit_machinery {
  static constexpr bool is_followed_after_unmapping(unit_outcome how, bool) noexcept {
    return how == unit_outcome::failed;
  }
};
struct forgets_a_stuck_unit : unit_machinery {
  static constexpr bool is_mapped_after(bool told_to_map, unit_outcome how) noexcept {
    return told_to_map == (how == unit_outcome::done);
  }
};
struct gives_back_what_is_stuck : unit_machinery {
  static constexpr bool is_given_back(detail::unit_record, unit_outcome how) noexcept {
    return how != unit_outcome::done;
  }
};
struct gives_back_what_was_stuck : unit_machinery {
  static constexpr bool is_given_back(detail::unit_record, unit_outcome how) noexcept {
    return how == unit_outcome::failed;
  }
};
/// One that has diverged says that it has nothing mapped.
struct diverged_lets_go : unit_machinery {
  static constexpr detail::unit_answer answer_of(bool told_to_map, bool mapped,
                                                 bool diverged) noexcept {
    return diverged ? detail::unit_answer::nothing
                    : unit_machinery::answer_of(told_to_map, mapped, false);
  }
};

template <class Machinery, hold_kind Holds = hold_kind::uncoordinated>
using unit_seed = proof::unit_abstraction<Holds, Machinery>;

}  // namespace tether::seeds
