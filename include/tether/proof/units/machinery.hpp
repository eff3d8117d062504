// SPDX-License-Identifier: BSL-1.0
// The proof of coordinated discards: what of them is proven, and in how large a model. The
// decisions are the very functions that run (`core/detail/unit_rules.hpp`); the order of the steps
// is written down once more here, and lockstep holds it to the one that runs.
#pragma once

#include <tether/core/detail/unit_rules.hpp>
#include <tether/inhibit/kinds.hpp>

#include <cstddef>
#include <cstdint>

namespace tether::proof {

using tether::detail::unit_outcome;

/// What a source of discards does to the unit.
enum class source_task : std::uint8_t {
  rest,
  discard,
  populate,
  fence,  ///< populates in any case (law 24)
};
/// A step of it.
enum class unit_step : std::uint8_t {
  ended,
  bring_in,   ///< the memory is populated
  enter,      ///< nobody begins or ends to follow the unit from now on
  lock,       ///< the locks of all that follow it
  tell,       ///< each of them maps or unmaps it; undone everywhere if one cannot
  take_back,  ///< that is undone, because the memory could not be discarded
  empty,      ///< the memory is discarded
  settle,     ///< the unit is there, or gone; the answer
  give_back,  ///< what was brought in is discarded again
};

/// The code that is proven. A test hook: only tests replace it, with mutants.
struct unit_machinery {
  /// The first step of a task, and the one after a step.
  [[nodiscard]] static constexpr unit_step first(source_task what) noexcept {
    return what == source_task::discard ? unit_step::enter : unit_step::bring_in;
  }
  [[nodiscard]] static constexpr unit_step after(source_task what, unit_step step,
                                                 unit_outcome how) noexcept {
    const bool discards = what == source_task::discard;
    const bool fences = what == source_task::fence;
    if (how != unit_outcome::done && !fences) {
      if (discards) return step == unit_step::empty ? unit_step::take_back : unit_step::ended;
      return step == unit_step::give_back ? unit_step::ended : unit_step::give_back;
    }
    switch (step) {
      case unit_step::bring_in: return unit_step::enter;
      case unit_step::enter: return fences ? unit_step::tell : unit_step::lock;
      case unit_step::lock: return unit_step::tell;
      case unit_step::tell: return discards ? unit_step::empty : unit_step::settle;
      case unit_step::empty: return unit_step::settle;
      default: return unit_step::ended;
    }
  }
  [[nodiscard]] static constexpr tether::detail::unit_task task_of_discard(
      tether::detail::unit_record now, bool wanted) noexcept {
    return tether::detail::task_of_discard(now, wanted);
  }
  [[nodiscard]] static constexpr tether::detail::unit_task task_of_populate(
      tether::detail::unit_record now, bool wanted) noexcept {
    return tether::detail::task_of_populate(now, wanted);
  }
  [[nodiscard]] static constexpr tether::detail::unit_record after_populate(
      tether::detail::unit_record now, unit_outcome how) noexcept {
    return tether::detail::after_populate(now, how);
  }
  [[nodiscard]] static constexpr bool is_given_back(tether::detail::unit_record now,
                                                    unit_outcome how) noexcept {
    return tether::detail::is_given_back(now, how);
  }
  [[nodiscard]] static constexpr bool may_tell(
      tether::detail::telling_and_enrolling turns) noexcept {
    return turns.may_tell();
  }
  [[nodiscard]] static constexpr bool may_open(
      tether::detail::telling_and_enrolling turns) noexcept {
    return turns.may_open();
  }
  [[nodiscard]] static constexpr tether::detail::unit_answer answer_of(bool told_to_map,
                                                                       bool mapped,
                                                                       bool diverged) noexcept {
    return tether::detail::answer_of(told_to_map, mapped, diverged);
  }
  [[nodiscard]] static constexpr bool is_mapped_after(bool told_to_map, unit_outcome how) noexcept {
    return tether::detail::is_mapped_after(told_to_map, how);
  }
  [[nodiscard]] static constexpr bool is_followed_after_mapping(unit_outcome how) noexcept {
    return tether::detail::is_followed_after_mapping(how);
  }
  /// `anything`: whether there was anything to unmap.
  [[nodiscard]] static constexpr bool is_followed_after_unmapping(
      unit_outcome how, [[maybe_unused]] bool anything) noexcept {
    return tether::detail::is_followed_after_unmapping(how);
  }
  /// Whether a rollback concerns a container: it has done what is rolled back.
  [[nodiscard]] static constexpr bool is_undone(bool changed,
                                                [[maybe_unused]] std::size_t at) noexcept {
    return changed;
  }
  /// Whether a container is followed before it has mapped what is there.
  static constexpr bool follows_first = false;
};

/// What the model sees of a configuration whose containers follow units.
template <hold_kind Holds = hold_kind::uncoordinated, class Machinery = unit_machinery>
struct unit_abstraction {
  using code = Machinery;                    ///< the code that is proven
  static constexpr hold_kind holds = Holds;  ///< the kind of hold that containers take
};

namespace detail {

template <class T>
inline constexpr bool is_unit_abstraction = false;
template <hold_kind Holds, class Machinery>
inline constexpr bool is_unit_abstraction<unit_abstraction<Holds, Machinery>> = true;

}  // namespace detail

/// Whether the containers of a configuration follow units: they map in blocks.
template <class Configuration>
inline constexpr bool follows_units = detail::is_unit_abstraction<Configuration>;
template <class Configuration>
  requires requires { Configuration::policies::granularity::block_size; }
inline constexpr bool follows_units<Configuration> =
    Configuration::policies::granularity::block_size != 0;

namespace detail {

template <class Configuration>
struct unit_abstraction_found {
  using type = unit_abstraction<Configuration::policies::holds>;
};
template <class Configuration>
  requires is_unit_abstraction<Configuration>
struct unit_abstraction_found<Configuration> {
  using type = Configuration;
};

}  // namespace detail

/// The units' side of such a configuration, or what is one itself.
template <class Configuration>
  requires follows_units<Configuration>
using unit_abstraction_of = typename detail::unit_abstraction_found<Configuration>::type;

/// Whether each step is an event, or those that commute with all that others do happen with the
/// event before them (partial-order reduction). The search at run time shows that both agree.
///
///     enter, lock     one who begins to enrol before them makes them busy, as if it had before
///     settle          nobody looks at the unit while somebody tells
///     bring in,       touch memory that no container maps
///     give back
///     open, end       of an enrolment: nobody tells meanwhile
enum class unit_steps : std::uint8_t { each, merged };

/// One unit, and how many follow it and discard it. Two containers show every mistake of a rollback
/// between containers, two sources every mistake between wishes: a third of either is as the
/// second. One unit suffices, because nothing but a container's lock connects two.
template <std::size_t Containers, std::size_t Sources, unit_steps Steps = unit_steps::each>
struct unit_scope {
  static_assert(Containers >= 1 && Containers <= 3 && Sources >= 1 && Sources <= 3);
  static constexpr std::size_t containers = Containers;  ///< in the model
  static constexpr std::size_t sources = Sources;        ///< in the model
  static constexpr unit_steps steps = Steps;             ///< how finely they are told apart
};
/// What is proven at compile time.
using small_unit_scope = unit_scope<2, 2, unit_steps::merged>;

/// Whether nobody tells while an enrolment is open or wanted, and none opens while somebody tells.
template <class Machinery>
inline constexpr bool tells_alone = !Machinery::may_tell({.enrolling = 1}) &&
                                    !Machinery::may_tell({.enrolling = 1, .open = true}) &&
                                    !Machinery::may_open({.telling = 1, .enrolling = 1});

}  // namespace tether::proof
