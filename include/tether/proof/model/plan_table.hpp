// SPDX-License-Identifier: BSL-1.0
// A transition table of a lifecycle's plans: every result of `advance`, computed once. A search
// needs them thousands of times, and inside the compiler each evaluation is expensive. So is each
// call: hence plain arrays, here and in `state.hpp`, whose elements a compiler reads without one
// (it is twice as fast).
#pragma once

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/attach/lifecycle/steps.hpp>
#include <tether/inhibit/membership.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace tether::proof {

/// Evaluates on every call. `Code` is `machinery`, or a mutant of it.
template <class Code, class Lifecycle>
struct computed {
  /// The act at a cursor.
  [[nodiscard]] static constexpr act act_at(cursor at) noexcept {
    return Code::template act_at<Lifecycle>(at);
  }
  /// The cursor after an act that ended so.
  [[nodiscard]] static constexpr cursor advance(cursor at, outcome how) noexcept {
    return Code::template advance<Lifecycle>(at, how);
  }
  /// What an operation's `commit` does to the counts.
  [[nodiscard]] static constexpr change makes(operation what) noexcept {
    return Lifecycle::plan_of(what).makes;
  }
};

/// Results of `computed`, tabulated for every position of a cursor.
template <class Code, class Lifecycle>
struct tabulated {
  static constexpr std::size_t outcomes = 3;  ///< that an act can have
  /// One position in a plan.
  struct position {
    act here = act::nothing;  ///< the act
    cursor then[outcomes]{};  ///< where it goes on, by outcome
  };
  using directions = position[2];  ///< forward, backward
  /// One plan.
  struct steps {
    change makes = change::none;  ///< what its `commit` does
    directions at[plan::most]{};  ///< its positions
  };

  /// All plans.
  struct table {
    steps of[operations]{};  ///< by operation
  };

  /// The table, made once.
  static constexpr table all = [] {
    using direct = computed<Code, Lifecycle>;
    table made{};
    for (std::size_t what = 0; what < operations; ++what) {
      made.of[what].makes = direct::makes(static_cast<operation>(what));
      const std::size_t size = Lifecycle::plan_of(static_cast<operation>(what)).size();
      for (std::size_t index = 0; index < size; ++index) {
        for (const bool backward : {false, true}) {
          const cursor place{static_cast<operation>(what), static_cast<std::uint8_t>(index),
                             backward, ending::none};
          position& here = made.of[what].at[index][backward ? 1 : 0];
          here.here = direct::act_at(place);
          for (std::size_t how = 0; how < outcomes; ++how)
            here.then[how] = direct::advance(place, static_cast<outcome>(how));
        }
      }
    }
    return made;
  }();

  /// The act at a cursor.
  [[nodiscard]] static constexpr act act_at(cursor at) noexcept {
    return all.of[static_cast<std::size_t>(at.in)].at[at.index][at.backward ? 1 : 0].here;
  }
  /// The cursor after an act that ended so.
  [[nodiscard]] static constexpr cursor advance(cursor at, outcome how) noexcept {
    return all.of[static_cast<std::size_t>(at.in)]
        .at[at.index][at.backward ? 1 : 0]
        .then[static_cast<std::size_t>(how)];
  }
  /// What an operation's `commit` does to the counts.
  [[nodiscard]] static constexpr change makes(operation what) noexcept {
    return all.of[static_cast<std::size_t>(what)].makes;
  }
};

/// Plans that are constant expressions, and can be tabulated. A search at run time also accepts
/// plans that are data.
template <class Lifecycle>
concept constant_plans = requires {
  std::bool_constant<(Lifecycle::plan_of(operation::attach_first).size() <= plan::most)>{};
};

/// What the search asks.
template <class Code, class Lifecycle>
using plan_table = std::conditional_t<constant_plans<Lifecycle>, tabulated<Code, Lifecycle>,
                                      computed<Code, Lifecycle>>;

}  // namespace tether::proof
