// SPDX-License-Identifier: BSL-1.0
// Breadth-first search of the reachable state space, in portions: the same search runs in portions
// inside the compiler (`at_compile_time.hpp`) and in one go at run time (`at_run_time.hpp`). The
// first violation that it finds is the end of a shortest counterexample.
#pragma once

#include <tether/proof/model/event.hpp>
#include <tether/proof/model/property.hpp>
#include <tether/proof/model/state.hpp>
#include <tether/proof/model/transition.hpp>
#include <tether/proof/search/coverage.hpp>
#include <tether/proof/search/state_key.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace tether::proof {

/// The result of adding a state to a table.
enum class entry : std::uint8_t { fresh, seen, full };

/// A hash table of visited states, in order of discovery, each with the index of its predecessor.
/// Of fixed size, so that it can live inside the compiler.
template <class Key, std::size_t Capacity>
struct fixed_table {
  static constexpr std::size_t capacity = Capacity;
  Key keys[Capacity]{};
  std::uint32_t from[Capacity]{};
  std::uint32_t slots[2 * Capacity]{};
  std::uint32_t size = 0;

  constexpr entry add(Key const& one, std::uint32_t by) noexcept {
    auto at = static_cast<std::size_t>(one.hash()) & (2 * Capacity - 1);
    while (slots[at] != 0) {
      if (keys[slots[at] - 1] == one) return entry::seen;
      at = (at + 1) & (2 * Capacity - 1);
    }
    if (size == Capacity) return entry::full;
    keys[size] = one;
    from[size] = by;
    slots[at] = ++size;
    return entry::fresh;
  }
};

/// How far a search has come.
struct progress {
  std::uint32_t expanded = 0;  ///< states whose every event has been tried
  std::uint64_t transitions = 0;
  coverage reached{};
  broken_properties broken = 0;  ///< by the last event tried; then the search is over
  bool full = false;             ///< the table is: the search continues in a larger one
};

/// The properties that an event has broken.
template <class Abstraction, class Scope>
[[nodiscard]] constexpr broken_properties broken_by(successor<Scope> const& next,
                                                    bool fits) noexcept {
  if (next.by.who == actor::permit || next.by.who == actor::discard || next.by.who == actor::guest)
    return stale_in(next.here);
  return next.said.broken | broken_in<Abstraction>(next.here) |
         (fits ? 0U : bit(property::unbounded_counts));
}

/// A search: the visited states, and its progress. `Judged`: the properties that end it when
/// broken.
template <class Abstraction, class Scope, class Table, broken_properties Judged = every_property>
struct exploration {
  Table found{};
  progress now{};

  constexpr void begin() noexcept {
    packer<Scope> packing{};
    const world<Scope> first{};
    static_cast<void>(found.add(packing.pack(first), 0));
    now.broken = broken_in<Abstraction>(first) & Judged;
  }
  [[nodiscard]] constexpr bool finished() const noexcept {
    return now.broken != 0 || now.expanded == found.size;
  }

  /// Tries every event of `states` more states.
  constexpr void expand(std::uint32_t states) {
    for (; states != 0 && !finished() && !now.full; --states) {
      const progress before = now;
      const std::uint32_t place = now.expanded;
      const auto here = packer<Scope>::unpack(found.keys[place]);
      transition<Abstraction, Scope>::for_each(
          here, [&](successor<Scope> const& next) { return enter(next, place); });
      if (now.full) {  // this state is expanded again, from the start
        now = before;
        now.full = true;
      } else {
        ++now.expanded;
      }
    }
  }

 private:
  constexpr bool enter(successor<Scope> const& next, std::uint32_t place) {
    packer<Scope> packing{};
    const auto packed = packing.pack(next.here);
    ++now.transitions;
    now.reached.add(next.said.reached);
    const entry added = found.add(packed, place);
    if (added == entry::full) {
      now.full = true;
      return false;
    }
    // What is broken in a state depends on its packed fields alone: one that was seen before was
    // judged then.
    const bool judged = added == entry::seen && packing.fits;
    const broken_properties broken =
        (judged ? next.said.broken : broken_by<Abstraction>(next, packing.fits)) & Judged;
    if (broken == 0) return true;
    now.broken = broken;
    last = packed;
    last_from = place;
    return false;
  }

 public:
  key<Scope> last{};            ///< the state in which something is broken, and
  std::uint32_t last_from = 0;  ///< the index of its predecessor
};

/// The counterexample that a search has found, with groups and containers numbered the same
/// throughout. It is replayed from the initial state, without the sorting that symmetry reduction
/// does: so the events are shown to run as they are reported.
template <class Abstraction, class Scope, class Table, broken_properties Judged>
[[nodiscard]] constexpr trace replay(exploration<Abstraction, Scope, Table, Judged> const& search) {
  trace events{};
  if (search.now.transitions == 0) return events;
  std::array<key<Scope>, trace::most> path{};
  std::size_t length = 0;
  path[length++] = search.last;
  for (std::uint32_t at = search.last_from; at != 0 && length < trace::most;
       at = search.found.from[at]) {
    path[length++] = search.found.keys[at];
  }

  world<Scope> here{};
  while (length-- > 0) {
    bool found = false;
    successor<Scope> taken{};
    transition<Abstraction, Scope>::for_each(here, [&](successor<Scope> const& next) {
      packer<Scope> packing{};
      if (packing.pack(next.here) != path[length]) return true;
      const broken_properties broken = broken_by<Abstraction>(next, packing.fits) & Judged;
      if ((length == 0) != (broken != 0)) return true;
      taken = next;
      found = true;
      return false;
    });
    if (!found) return {};
    events.push(taken.by);
    here = taken.here;
  }
  return events;
}

}  // namespace tether::proof
