// SPDX-License-Identifier: BSL-1.0
// One search for two models: each is found by its abstraction.
#include <tether/proof/search/searched_model.hpp>

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/inhibit/policies.hpp>

#include <type_traits>

namespace tether::proof {
namespace {

using of_containers =
    searched_model<abstraction<inhibit_per_group, standard_lifecycle>, small_scope>;
using of_units = searched_model<unit_abstraction<>, small_unit_scope>;
static_assert(std::is_same_v<of_containers::event, event> &&
              std::is_same_v<of_units::event, unit_event>);
static_assert(of_containers::broken_in(of_containers::world{}) == 0 &&
              of_units::broken_in(of_units::world{}) == 0);

constexpr of_units::successor refused = [] {
  of_units::successor next{};
  next.said.broken = bit(unit_property::needless_refusal);
  return next;
}();
static_assert(of_units::broken_by(refused, true) == bit(unit_property::needless_refusal));
constexpr of_containers::successor by_the_caller{
    of_containers::world{}, event{.who = actor::caller}, {}};
static_assert(of_containers::broken_by(by_the_caller, false) == bit(property::unbounded_counts));

}  // namespace
}  // namespace tether::proof
