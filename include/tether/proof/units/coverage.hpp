// SPDX-License-Identifier: BSL-1.0
// What a search of the units' model has reached, and what it must reach.
#pragma once

#include <tether/proof/units/machinery.hpp>
#include <tether/proof/units/state.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tether::proof {

/// What can be done, and fail, in an event.
enum class unit_call : std::uint8_t {
  agree,      ///< a source notes that it wants it gone, too, or no longer
  inhibited,  ///< the gate grants no permit
  bring_in,
  enter,
  lock,
  map,
  unmap,
  map_again,
  unmap_again,
  refuse,  ///< told, a container that has diverged refuses
  empty,
  settle,
  give_back,
  begin,
  open,   ///< nobody is told of units while an enrolment or a withdrawal is open
  enrol,  ///< maps what is there
  withdraw,
  end,
  wait,
};
/// How many calls there are.
inline constexpr std::size_t unit_calls = 19;

/// What a trace says of it.
[[nodiscard]] constexpr std::string_view name_of(unit_call what) noexcept {
  constexpr std::array<std::string_view, unit_calls> names{"agrees",
                                                           "is inhibited",
                                                           "brings the memory in",
                                                           "enters",
                                                           "locks",
                                                           "maps",
                                                           "unmaps",
                                                           "maps again",
                                                           "unmaps again",
                                                           "refuses",
                                                           "discards the memory",
                                                           "settles",
                                                           "discards it again",
                                                           "begins",
                                                           "opens enrolment",
                                                           "maps",
                                                           "unmaps",
                                                           "ends",
                                                           "waits"};
  return names[static_cast<std::size_t>(what)];
}
/// What a trace says of it.
[[nodiscard]] constexpr std::string_view name_of(source_task what) noexcept {
  constexpr std::array<std::string_view, 4> names{"rest", "discard", "populate", "fence"};
  return names[static_cast<std::size_t>(what)];
}
[[nodiscard]] constexpr std::string_view name_of(follower_task what) noexcept {
  constexpr std::array<std::string_view, 5> names{"rest", "attach", "detach", "abandon", "work"};
  return names[static_cast<std::size_t>(what)];
}
[[nodiscard]] constexpr std::string_view name_of(unit_outcome how) noexcept {
  constexpr std::array<std::string_view, 3> names{"done", "fails", "gets stuck"};
  return names[static_cast<std::size_t>(how)];
}

/// Bit sets of the pairs seen: a call and its outcome, a task and its ending.
struct unit_coverage {
  std::uint64_t calls = 0;  ///< calls and outcomes
  std::uint64_t tasks = 0;  ///< tasks and outcomes

  friend constexpr bool operator==(unit_coverage const&, unit_coverage const&) noexcept = default;

  /// The bit of a pair.
  template <class What>
  static constexpr std::uint64_t bit(What what, unit_outcome how) noexcept {
    return std::uint64_t{1} << (static_cast<unsigned>(what) * 3U + static_cast<unsigned>(how));
  }
  /// Adds a pair.
  constexpr void add(unit_call what, unit_outcome how) noexcept { calls |= bit(what, how); }
  /// Adds a pair.
  constexpr void add(source_task what, unit_outcome how) noexcept { tasks |= bit(what, how); }
  /// Adds a pair.
  constexpr void add(follower_task what, unit_outcome how) noexcept {
    tasks |= bit(what, how) << 12U;
  }
  /// Adds all of another.
  constexpr void add(unit_coverage const& other) noexcept {
    calls |= other.calls;
    tasks |= other.tasks;
  }
  /// Whether that pair was seen.
  [[nodiscard]] constexpr bool has(unit_call what, unit_outcome how) const noexcept {
    return (calls & bit(what, how)) != 0;
  }
  /// Whether that pair was seen.
  [[nodiscard]] constexpr bool has(source_task what, unit_outcome how) const noexcept {
    return (tasks & bit(what, how)) != 0;
  }
  /// Whether that pair was seen.
  [[nodiscard]] constexpr bool has(follower_task what, unit_outcome how) const noexcept {
    return (tasks >> 12U & bit(what, how)) != 0;
  }
  /// What is in `demanded` and not here.
  [[nodiscard]] constexpr unit_coverage lacks(unit_coverage const& demanded) const noexcept {
    return {demanded.calls & ~calls, demanded.tasks & ~tasks};
  }
  [[nodiscard]] constexpr bool empty() const noexcept { return calls == 0 && tasks == 0; }
};

/// What must be reached in a model of `Scope`: every call and every task with each outcome that it
/// can have.
template <class Scope>
[[nodiscard]] constexpr unit_coverage demanded_of_units() noexcept {
  constexpr auto done = unit_outcome::done;
  constexpr auto failed = unit_outcome::failed;
  constexpr auto stuck = unit_outcome::stuck;
  constexpr bool several = Scope::containers > 1;
  unit_coverage all{};
  for (const unit_call what : {unit_call::bring_in, unit_call::enter, unit_call::lock,
                               unit_call::empty, unit_call::give_back}) {
    all.add(what, done);
    all.add(what, failed);
  }
  for (const unit_call what : {unit_call::map, unit_call::unmap, unit_call::map_again,
                               unit_call::unmap_again, unit_call::enrol, unit_call::withdraw}) {
    if (what == unit_call::unmap_again && !several) continue;
    for (const unit_outcome how : {done, failed, stuck}) all.add(what, how);
  }
  all.add(unit_call::refuse, failed);
  if (Scope::sources > 1) all.add(unit_call::agree, done);
  for (const unit_outcome how : {done, failed, stuck}) {
    all.add(source_task::discard, how);
    all.add(source_task::populate, how);
    all.add(follower_task::attach, how);
    all.add(follower_task::detach, how);
  }
  all.add(source_task::fence, done);
  all.add(source_task::fence, failed);
  all.add(follower_task::abandon, done);
  all.add(follower_task::work, done);
  return all;
}

}  // namespace tether::proof
