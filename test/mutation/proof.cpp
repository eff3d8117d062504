// SPDX-License-Identifier: BSL-1.0
// Kills mutants: the search over all built-in policies and plans, at run time, so that a mutant is
// tried in a second. It demands the same as test/static/proof/proven_safe.cpp.
#include <tether/proof/search/at_run_time.hpp>

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/proof/search/coverage.hpp>

#include <cstdio>

namespace {

using namespace tether;
using namespace tether::proof;

template <class Policy, attach_unit Unit, bool TellsKvm>
bool is_safe() {
  using what = abstraction<Policy, lifecycle_of<Unit, TellsKvm>>;
  // No right plan needs a hundredth of this; a wrong one may not terminate.
  const findings found = search<what, small_scope>([](progress const&) {}, 100'000);
  if (!found.safe()) std::printf("%s\n", found.description().view().data());
  return found.safe() && found.reached.lacks(demanded<what>()).empty();
}
template <attach_unit Unit, bool TellsKvm>
bool are_safe() {
  return is_safe<inhibit_per_container, Unit, TellsKvm>() &&
         is_safe<inhibit_per_group, Unit, TellsKvm>() &&
         is_safe<inhibit_per_device, Unit, TellsKvm>();
}

}  // namespace

int main() {
  const bool all = are_safe<attach_unit::group, false>() && are_safe<attach_unit::group, true>() &&
                   are_safe<attach_unit::device, false>() && are_safe<attach_unit::device, true>();
  return all ? 0 : 1;
}
