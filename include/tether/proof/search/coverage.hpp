// SPDX-License-Identifier: BSL-1.0
// What a search has reached, and what it must reach: one that never saw a failed map proves nothing
// (law 29).
#pragma once

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/attach/lifecycle/steps.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/proof/model/abstraction.hpp>

#include <cstddef>
#include <cstdint>

namespace tether::proof {

/// Bit sets of the pairs seen: an act and its outcome, an operation and its ending.
struct coverage {
  std::uint64_t acts = 0;        ///< acts and outcomes
  std::uint64_t operations = 0;  ///< operations and endings

  friend constexpr bool operator==(coverage const&, coverage const&) noexcept = default;

  /// The bit of a pair.
  static constexpr std::uint64_t bit(act what, outcome how) noexcept {
    return std::uint64_t{1} << (static_cast<unsigned>(what) * 3U + static_cast<unsigned>(how));
  }
  /// The bit of a pair.
  static constexpr std::uint64_t bit(operation what, ending how) noexcept {
    return std::uint64_t{1} << (static_cast<unsigned>(what) * 4U + static_cast<unsigned>(how));
  }
  /// Adds a pair.
  constexpr void add(act what, outcome how) noexcept { acts |= bit(what, how); }
  /// Adds a pair.
  constexpr void add(operation what, ending how) noexcept { operations |= bit(what, how); }
  /// Adds all of another.
  constexpr void add(coverage const& other) noexcept {
    acts |= other.acts;
    operations |= other.operations;
  }
  /// Whether that pair was seen.
  [[nodiscard]] constexpr bool has(act what, outcome how) const noexcept {
    return (acts & bit(what, how)) != 0;
  }
  /// Whether that pair was seen.
  [[nodiscard]] constexpr bool has(operation what, ending how) const noexcept {
    return (operations & bit(what, how)) != 0;
  }
  /// What is in `demanded` and not here.
  [[nodiscard]] constexpr coverage lacks(coverage const& demanded) const noexcept {
    return {demanded.acts & ~acts, demanded.operations & ~operations};
  }
  [[nodiscard]] constexpr bool empty() const noexcept { return acts == 0 && operations == 0; }
};

/// Whether a policy can refuse a membership.
template <class Policy>
concept refuses_memberships = requires(group_counts group) { Policy::admits(group); };

/// Whether an act can have this outcome. Kernel calls can get stuck; `judge`, `populate` and `hold`
/// cannot.
template <class Abstraction>
[[nodiscard]] constexpr bool can_end(act what, outcome how) noexcept {
  if (how == outcome::done) return true;
  if (!can_fail(what)) return false;
  if (what == act::judge)
    return how == outcome::failed &&
           (Abstraction::pins || refuses_memberships<typename Abstraction::inhibition_type>);
  if (what == act::populate) return how == outcome::failed && Abstraction::pins;
  if (what == act::raise_holds)
    return how == outcome::failed && !never_inhibits<typename Abstraction::inhibition_type>;
  return true;
}

namespace detail {

inline constexpr outcome all_outcomes[] = {outcome::done, outcome::failed, outcome::stuck};

template <class Abstraction>
constexpr void reach_from(cursor at, coverage& all) noexcept {
  if (at.ended != ending::none) return all.add(at.in, at.ended);
  const act now = Abstraction::plan_table::act_at(at);
  for (const outcome how : all_outcomes) {
    if (!can_end<Abstraction>(now, how)) continue;
    all.add(now, how);
    reach_from<Abstraction>(Abstraction::plan_table::advance(at, how), all);
  }
}

}  // namespace detail

/// What must be reached: every act of every plan, forward and in rollback, with every outcome it
/// can have.
template <class Abstraction>
[[nodiscard]] constexpr coverage demanded() noexcept {
  coverage all{};
  for (std::size_t i = 0; i < operations; ++i) {
    const auto what = static_cast<operation>(i);
    if (Abstraction::lifecycle::plan_of(what).size() != 0)
      detail::reach_from<Abstraction>(cursor{what}, all);
  }
  return all;
}

}  // namespace tether::proof
