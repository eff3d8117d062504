// SPDX-License-Identifier: BSL-1.0
// The same search at run time: for models of millions of states, for policies that are not
// constants, and for programs that show what it finds.
#pragma once

#include <tether/proof/model/abstraction.hpp>
#include <tether/proof/model/event.hpp>
#include <tether/proof/model/property.hpp>
#include <tether/proof/search/breadth_first.hpp>
#include <tether/proof/search/coverage.hpp>
#include <tether/proof/search/searched_model.hpp>
#include <tether/proof/search/trace_text.hpp>
#include <tether/proof/units/machinery.hpp>
#include <tether/proof/units/trace_text.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

namespace tether::proof {

/// A hash table of visited states that grows.
template <class Key>
struct growing_table {
  std::vector<Key> keys;            ///< the states, in order of discovery
  std::vector<std::uint32_t> from;  ///< each one's predecessor
  /// By hash: a state's index and 1.
  std::vector<std::uint32_t> slots = std::vector<std::uint32_t>(1024);
  std::uint32_t size = 0;  ///< how many states

  /// Adds a state that was reached from `by`. Fails: may throw `std::bad_alloc`.
  entry add(Key const& one, std::uint32_t by) {
    if (2 * std::size_t{size} >= slots.size()) grow();
    std::size_t at = home_of(one);
    while (slots[at] != 0) {
      if (keys[slots[at] - 1] == one) return entry::seen;
      at = (at + 1) & (slots.size() - 1);
    }
    keys.push_back(one);
    from.push_back(by);
    slots[at] = ++size;
    return entry::fresh;
  }

 private:
  [[nodiscard]] std::size_t home_of(Key const& one) const noexcept {
    return static_cast<std::size_t>(one.hash()) & (slots.size() - 1);
  }
  void grow() {
    slots.assign(2 * slots.size(), 0);
    for (std::uint32_t i = 0; i < size; ++i) {
      std::size_t at = home_of(keys[i]);
      while (slots[at] != 0) at = (at + 1) & (slots.size() - 1);
      slots[at] = i + 1;
    }
  }
};

/// What a search has found.
template <class Event, class Coverage>
struct basic_findings {
  broken_properties broken = 0;   ///< 0: none
  basic_trace<Event> way;         ///< a shortest counterexample
  std::uint64_t states = 0;       ///< that were met
  std::uint64_t transitions = 0;  ///< that were tried
  Coverage reached;               ///< what was seen to happen
  bool complete = false;          ///< all states were searched, or something was found broken
  bool several = false;           ///< there is more than one container

  /// Whether all was searched, and nothing is broken.
  [[nodiscard]] bool safe() const noexcept { return complete && broken == 0; }
  /// What is broken, and a shortest counterexample; empty if nothing is.
  [[nodiscard]] sentence description() const noexcept {
    if constexpr (std::is_same_v<Event, event>) return describe_trace(broken, way, several);
    else return describe_trace(broken, way);
  }
};
/// Those about containers.
using findings = basic_findings<event, coverage>;

/// Searches the state space of `Abstraction` in a model of `Scope`. `watch(progress)` is called
/// every 65,536 states; the search stops soon after `most`. Cost: well below a microsecond and some
/// 20 bytes a state. Fails: may throw `std::bad_alloc`.
template <class Abstraction, class Scope, broken_properties Judged = every_property, class Watch>
[[nodiscard]] auto search(Watch&& watch,
                          std::uint64_t most = std::numeric_limits<std::uint32_t>::max()) {
  using model = searched_model<Abstraction, Scope>;
  exploration<Abstraction, Scope, growing_table<typename model::key>, Judged> all{};
  all.begin();
  while (!all.finished() && all.found.size < most) {
    all.expand(static_cast<std::uint32_t>(std::min<std::uint64_t>(65'536, most)));
    watch(all.now);
  }
  const bool something = all.now.broken != 0;
  using event_type = typename model::event;
  return basic_findings<event_type, typename model::coverage>{
      all.now.broken,         something ? replay(all) : basic_trace<event_type>{},
      all.found.size,         all.now.transitions,
      all.now.reached,        all.finished(),
      (Scope::containers > 1)};
}
template <class Abstraction, class Scope = small_scope, broken_properties Judged = every_property>
[[nodiscard]] auto search() {
  return search<Abstraction, Scope, Judged>([](auto const&) {});
}

}  // namespace tether::proof
