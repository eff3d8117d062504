// SPDX-License-Identifier: BSL-1.0
// The search inside the compiler. Compilers limit the steps of one constant evaluation, and a
// search takes more; so each portion of it is a constant of its own, computed from the one before,
// and no limit has to be raised.
#pragma once

#include <tether/proof/model/property.hpp>
#include <tether/proof/search/breadth_first.hpp>
#include <tether/proof/search/searched_model.hpp>

#include <cstddef>
#include <cstdint>

namespace tether::proof {
namespace detail {

inline constexpr std::uint32_t states_per_portion = 48;
inline constexpr std::size_t first_capacity = 512;

template <class Abstraction, class Scope, broken_properties Judged, std::size_t Capacity>
using search_with =
    exploration<Abstraction, Scope,
                fixed_table<typename searched_model<Abstraction, Scope>::key, Capacity>, Judged>;

/// The next portion; if the table is full, a copy of the search with a table twice as large.
template <class Abstraction, class Scope, broken_properties Judged, std::size_t Capacity,
          std::size_t Before>
constexpr search_with<Abstraction, Scope, Judged, Capacity> next_portion(
    search_with<Abstraction, Scope, Judged, Before> const& before) {
  if constexpr (Capacity == Before) {
    auto next = before;
    next.expand(states_per_portion);
    return next;
  } else {
    search_with<Abstraction, Scope, Judged, Capacity> larger{};
    for (std::uint32_t i = 0; i < before.found.size; ++i)
      static_cast<void>(larger.found.add(before.found.keys[i], before.found.from[i]));
    larger.now = before.now;
    larger.now.full = false;
    return larger;
  }
}

template <class Abstraction, class Scope, broken_properties Judged, std::size_t Index>
struct portion {
  using before = portion<Abstraction, Scope, Judged, Index - 1>;
  static constexpr std::size_t capacity =
      before::value.now.full ? 2 * before::capacity : before::capacity;
  static constexpr auto value = next_portion<Abstraction, Scope, Judged, capacity>(before::value);
};
template <class Abstraction, class Scope, broken_properties Judged>
struct portion<Abstraction, Scope, Judged, 0> {
  static constexpr std::size_t capacity = first_capacity;
  static constexpr auto value = [] {
    search_with<Abstraction, Scope, Judged, first_capacity> search{};
    search.begin();
    search.expand(states_per_portion);
    return search;
  }();
};

template <class Abstraction, class Scope, broken_properties Judged, std::size_t Index = 0>
constexpr auto const& last_portion() {
  if constexpr (portion<Abstraction, Scope, Judged, Index>::value.finished())
    return portion<Abstraction, Scope, Judged, Index>::value;
  else return last_portion<Abstraction, Scope, Judged, Index + 1>();
}

}  // namespace detail

/// The finished search of the state space of `Abstraction` in a model of `Scope`, as a constant.
/// Cost: about half a millisecond a transition, once for each abstraction and scope.
template <class Abstraction, class Scope = small_scope, broken_properties Judged = every_property>
inline constexpr auto const& explored = detail::last_portion<Abstraction, Scope, Judged>();

/// The counterexample that it has found; empty if nothing is broken.
template <class Abstraction, class Scope = small_scope, broken_properties Judged = every_property>
inline constexpr auto counterexample_of =
    explored<Abstraction, Scope, Judged>.now.broken == 0
        ? basic_trace<typename searched_model<Abstraction, Scope>::event>{}
        : replay(explored<Abstraction, Scope, Judged>);

}  // namespace tether::proof
