// SPDX-License-Identifier: BSL-1.0
// What is tabulated is what is computed, at every position.
#include <tether/proof/model/plan_table.hpp>

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/proof/model/abstraction.hpp>

namespace tether::proof {
namespace {

template <class Lifecycle>
constexpr bool answers_alike() {
  using table = tabulated<machinery, Lifecycle>;
  for (std::size_t what = 0; what < operations; ++what) {
    const plan steps = Lifecycle::plan_of(static_cast<operation>(what));
    if (table::makes(static_cast<operation>(what)) != steps.makes) return false;
    for (std::size_t index = 0; index < steps.size(); ++index) {
      for (const bool backward : {false, true}) {
        const cursor at{static_cast<operation>(what), static_cast<std::uint8_t>(index), backward,
                        ending::none};
        if (table::act_at(at) != tether::act_at<Lifecycle>(at)) return false;
        for (const outcome how : {outcome::done, outcome::failed, outcome::stuck}) {
          if (table::advance(at, how) != tether::advance<Lifecycle>(at, how)) return false;
        }
      }
    }
  }
  return true;
}
static_assert(answers_alike<lifecycle_of<attach_unit::group>>() &&
              answers_alike<lifecycle_of<attach_unit::group, true>>());
static_assert(answers_alike<lifecycle_of<attach_unit::device>>() &&
              answers_alike<lifecycle_of<attach_unit::device, true>>());

// Plans that are data are computed each time.
struct plans_that_change {
  static plan plan_of(operation what) noexcept { return standard_lifecycle::plan_of(what); }
};
static_assert(constant_plans<standard_lifecycle> && !constant_plans<plans_that_change>);

}  // namespace
}  // namespace tether::proof
