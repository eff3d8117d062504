// SPDX-License-Identifier: BSL-1.0
// A proof that follows from another. A plan that tells KVM (the greater) is the plan that does not
// (the lesser), with added acts that may fail as well: every run of the lesser is a run of the
// greater in which the added acts succeed at once (stuttering simulation). So what holds in all
// runs of the greater holds in all runs of the lesser.
//
//     greater:  hold -> acquire -> tell -> join -> replay -> commit  acquire and tell succeed
//     lesser:   hold --------------------> join -> replay -> commit  the same run, without them
#pragma once

#include <tether/attach/lifecycle/plan_rules.hpp>
#include <tether/attach/lifecycle/plans.hpp>
#include <tether/attach/lifecycle/steps.hpp>
#include <tether/proof/model/abstraction.hpp>
#include <tether/proof/proven_safe.hpp>
#include <tether/proof/search/at_compile_time.hpp>
#include <tether/proof/search/coverage.hpp>

#include <cstddef>
#include <type_traits>

namespace tether {
namespace proof {
namespace detail {

/// Whether an act changes only KVM's reference, or the descriptor that KVM is told of. Nothing that
/// affects a page depends on either (`kernel.hpp` reads neither).
[[nodiscard]] constexpr bool concerns_kvm_alone(act what) noexcept {
  return what == act::acquire || what == act::release || what == act::add_to_kvm || what == act::remove_from_kvm;
}

/// Whether `lesser` is `greater` without those acts. Where no later act can fail, a compensating
/// act never runs, so it may be missing.
[[nodiscard]] constexpr bool is_the_rest_of(plan const& lesser, plan const& greater) noexcept {
  if (lesser.makes != greater.makes) return false;
  std::size_t at = 0;
  for (std::size_t i = 0; i < greater.size(); ++i) {
    step const& one = greater.steps[i];
    if (concerns_kvm_alone(one.forward)) continue;
    if (at == lesser.size() || lesser.steps[at].forward != one.forward) return false;
    if (lesser.steps[at].backward != one.backward && lesser.may_roll_back_after(at)) return false;
    ++at;
  }
  return at == lesser.size();
}

template <class Lesser, class Greater>
[[nodiscard]] constexpr bool every_plan_is_the_rest_of_one() noexcept {
  for (std::size_t i = 0; i < operations; ++i) {
    const auto what = static_cast<operation>(i);
    if (!is_the_rest_of(Lesser::plan_of(what), Greater::plan_of(what))) return false;
  }
  return true;
}

/// Equal in all that safety depends on except the plans, which differ in KVM's acts alone.
template <class Lesser, class Greater>
inline constexpr bool differ_in_kvm_alone =
    std::is_same_v<typename Lesser::inhibition_type, typename Greater::inhibition_type> &&
    std::is_same_v<typename Lesser::code, typename Greater::code> && Lesser::pins == Greater::pins && Lesser::holds == Greater::holds &&
    Lesser::unit == Greater::unit && every_plan_is_the_rest_of_one<typename Lesser::lifecycle, typename Greater::lifecycle>();

}  // namespace detail
}  // namespace proof

/// Whether `Configuration` is safe because `Greater`, which does the same and tells KVM of it, is
/// `proven_safe` and has reached all that `Configuration` demands. For test suites that prove both:
/// it costs nothing in addition.
template <class Configuration, class Greater>
concept follows_from = well_formed_lifecycle<typename proof::abstraction_of<Configuration>::lifecycle> &&
                       proof::detail::differ_in_kvm_alone<proof::abstraction_of<Configuration>, proof::abstraction_of<Greater>> &&
                       proof::explored<proof::abstraction_of<Greater>>.now.reached.lacks(
                           proof::demanded<proof::abstraction_of<Configuration>>()).empty() &&
                       proven_safe<Greater>;

}  // namespace tether
