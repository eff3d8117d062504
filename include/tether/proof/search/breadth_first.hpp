// SPDX-License-Identifier: BSL-1.0
// Breadth-first search of the reachable state space, in portions: the same search runs in portions
// inside the compiler (`at_compile_time.hpp`) and in one go at run time (`at_run_time.hpp`). The
// first violation that it finds is the end of a shortest counterexample.
#pragma once

#include <tether/proof/model/event.hpp>
#include <tether/proof/model/property.hpp>
#include <tether/proof/search/coverage.hpp>
#include <tether/proof/search/searched_model.hpp>

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
  static constexpr std::size_t capacity = Capacity;  ///< states that it can keep
  Key keys[Capacity]{};                              ///< the states, in order of discovery
  std::uint32_t from[Capacity]{};                    ///< each one's predecessor
  std::uint32_t slots[2 * Capacity]{};               ///< by hash: a state's index and 1
  std::uint32_t size = 0;                            ///< how many states

  /// Adds a state that was reached from `by`.
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
template <class Coverage>
struct basic_progress {
  std::uint32_t expanded = 0;     ///< states whose every event has been tried
  std::uint64_t transitions = 0;  ///< events that were tried
  Coverage reached{};             ///< what was seen to happen
  broken_properties broken = 0;   ///< by the last event tried; then the search is over
  bool full = false;              ///< the table is: the search continues in a larger one
};
using progress = basic_progress<coverage>;

/// A search: the visited states, and its progress. `Judged`: the properties that end it when
/// broken.
template <class Abstraction, class Scope, class Table, broken_properties Judged = every_property>
struct exploration {
  using model = searched_model<Abstraction, Scope>;  ///< what is searched
  using packer = typename model::packer;             ///< how its states are packed
  Table found{};                                     ///< the states
  basic_progress<typename model::coverage> now{};    ///< the progress

  /// Begins with the first state.
  constexpr void begin() noexcept {
    packer packing{};
    const typename model::world first{};
    static_cast<void>(found.add(packing.pack(first), 0));
    now.broken = model::broken_in(first) & Judged;
  }
  /// Whether all was tried, or something is broken.
  [[nodiscard]] constexpr bool finished() const noexcept {
    return now.broken != 0 || now.expanded == found.size;
  }

  /// Tries every event of `states` more states.
  constexpr void expand(std::uint32_t states) {
    for (; states != 0 && !finished() && !now.full; --states) {
      const auto before = now;
      const std::uint32_t place = now.expanded;
      const auto here = packer::unpack(found.keys[place]);
      model::transition::for_each(
          here, [&](typename model::successor const& next) { return enter(next, place); });
      if (now.full) {  // this state is expanded again, from the start
        now = before;
        now.full = true;
      } else {
        ++now.expanded;
      }
    }
  }

 private:
  constexpr bool enter(typename model::successor const& next, std::uint32_t place) {
    packer packing{};
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
        (judged ? next.said.broken : model::broken_by(next, packing.fits)) & Judged;
    if (broken == 0) return true;
    now.broken = broken;
    last = packed;
    last_from = place;
    return false;
  }

 public:
  typename model::key last{};   ///< the state in which something is broken, and
  std::uint32_t last_from = 0;  ///< the index of its predecessor
};

/// The counterexample that a search has found, with groups and containers numbered the same
/// throughout. It is replayed from the initial state, without the sorting that symmetry reduction
/// does: so the events are shown to run as they are reported.
template <class Abstraction, class Scope, class Table, broken_properties Judged>
[[nodiscard]] constexpr auto replay(exploration<Abstraction, Scope, Table, Judged> const& search) {
  using model = searched_model<Abstraction, Scope>;
  basic_trace<typename model::event> events{};
  if (search.now.transitions == 0) return events;
  constexpr std::size_t most = decltype(events)::most;
  std::array<typename model::key, most> path{};
  std::size_t length = 0;
  path[length++] = search.last;
  for (std::uint32_t at = search.last_from; at != 0 && length < most; at = search.found.from[at]) {
    path[length++] = search.found.keys[at];
  }

  typename model::world here{};
  while (length-- > 0) {
    bool found = false;
    typename model::successor taken{};
    model::transition::for_each(here, [&](typename model::successor const& next) {
      typename model::packer packing{};
      if (packing.pack(next.here) != path[length]) return true;
      const broken_properties broken = model::broken_by(next, packing.fits) & Judged;
      if ((length == 0) != (broken != 0)) return true;
      taken = next;
      found = true;
      return false;
    });
    if (!found) return decltype(events){};
    events.push(taken.by);
    here = taken.here;
  }
  return events;
}

}  // namespace tether::proof
