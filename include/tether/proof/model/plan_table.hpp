// SPDX-License-Identifier: BSL-1.0
// A transition table of a lifecycle's plans: every result of `advance`, computed once. A search
// needs them thousands of times, and inside the compiler each evaluation is expensive. So is each
// call: hence plain arrays, here and in `world.hpp`, whose elements a compiler reads without one
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
struct asked_each_time {
  [[nodiscard]] static constexpr act act_at(cursor at) noexcept {
    return Code::template act_at<Lifecycle>(at);
  }
  [[nodiscard]] static constexpr cursor advance(cursor at, outcome how) noexcept {
    return Code::template advance<Lifecycle>(at, how);
  }
  [[nodiscard]] static constexpr change makes(operation what) noexcept {
    return Lifecycle::plan_of(what).makes;
  }
};

/// Results of `asked_each_time`, tabulated for every position of a cursor.
template <class Code, class Lifecycle>
struct asked_once {
  static constexpr std::size_t outcomes = 3;
  struct answers {
    act here = act::nothing;
    cursor then[outcomes]{};
  };
  using directions = answers[2];
  struct steps {
    change makes = change::none;
    directions at[plan::most]{};
  };

  struct table {
    steps of[operations]{};
  };

  static constexpr table all = [] {
    using each_time = asked_each_time<Code, Lifecycle>;
    table made{};
    for (std::size_t what = 0; what < operations; ++what) {
      made.of[what].makes = each_time::makes(static_cast<operation>(what));
      const std::size_t size = Lifecycle::plan_of(static_cast<operation>(what)).size();
      for (std::size_t index = 0; index < size; ++index) {
        for (const bool backward : {false, true}) {
          const cursor place{static_cast<operation>(what), static_cast<std::uint8_t>(index),
                             backward, ending::none};
          answers& here = made.of[what].at[index][backward ? 1 : 0];
          here.here = each_time::act_at(place);
          for (std::size_t how = 0; how < outcomes; ++how)
            here.then[how] = each_time::advance(place, static_cast<outcome>(how));
        }
      }
    }
    return made;
  }();

  [[nodiscard]] static constexpr act act_at(cursor at) noexcept {
    return all.of[static_cast<std::size_t>(at.in)].at[at.index][at.backward ? 1 : 0].here;
  }
  [[nodiscard]] static constexpr cursor advance(cursor at, outcome how) noexcept {
    return all.of[static_cast<std::size_t>(at.in)]
        .at[at.index][at.backward ? 1 : 0]
        .then[static_cast<std::size_t>(how)];
  }
  [[nodiscard]] static constexpr change makes(operation what) noexcept {
    return all.of[static_cast<std::size_t>(what)].makes;
  }
};

/// Plans that are constant expressions. At run time they may also be data that changes.
template <class Lifecycle>
concept constant_plans = requires {
  std::bool_constant<(Lifecycle::plan_of(operation::attach_first).size() <= plan::most)>{};
};

template <class Code, class Lifecycle>
using plan_table = std::conditional_t<constant_plans<Lifecycle>, asked_once<Code, Lifecycle>,
                                      asked_each_time<Code, Lifecycle>>;

}  // namespace tether::proof
