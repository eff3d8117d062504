// SPDX-License-Identifier: BSL-1.0
// What a proof has to reach is what its plans can do, and no less.
#include <tether/proof/search/coverage.hpp>

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/proof/model/abstraction.hpp>

namespace tether::proof {
namespace {

constexpr coverage of_groups =
    demanded<abstraction<inhibit_per_group, lifecycle_of<attach_unit::group>>>();
constexpr coverage of_devices =
    demanded<abstraction<inhibit_per_group, lifecycle_of<attach_unit::device>>>();
constexpr coverage telling =
    demanded<abstraction<inhibit_per_group, lifecycle_of<attach_unit::group, true>>>();
constexpr coverage pinning_nothing =
    demanded<abstraction<no_inhibition, lifecycle_of<attach_unit::group>, false>>();

static_assert(of_groups.has(act::replay, outcome::failed) &&
              of_groups.has(act::leave, outcome::stuck));
static_assert(of_groups.has(act::raise_holds, outcome::failed) &&
              of_groups.has(act::judge, outcome::failed));
static_assert(of_groups.has(operation::close, ending::rolled_back) &&
              of_groups.has(operation::detach_last, ending::diverged));
// The gate leaves nothing behind, and what cannot fail is not waited for.
static_assert(!of_groups.has(act::raise_holds, outcome::stuck) &&
              !of_groups.has(act::lower_holds, outcome::failed));
static_assert(!of_groups.has(act::bind, outcome::done) &&
              !of_groups.has(act::add_to_kvm, outcome::done));
static_assert(of_devices.has(act::bind, outcome::stuck) &&
              !of_devices.has(operation::open, ending::finished));
static_assert(telling.has(act::remove_from_kvm, outcome::failed) &&
              telling.has(act::release, outcome::done));
static_assert(!pinning_nothing.has(act::raise_holds, outcome::failed) &&
              !pinning_nothing.has(act::judge, outcome::failed));

// A device of a group that pins may not agree, so judging can refuse even where the policy admits
// everything.
static_assert(!refuses_memberships<inhibit_per_device> && refuses_memberships<inhibit_per_group>);
static_assert(demanded<abstraction<inhibit_per_device, lifecycle_of<attach_unit::group>>>().has(
    act::judge, outcome::failed));

constexpr coverage one = [] {
  coverage all{};
  all.add(act::join, outcome::failed);
  all.add(operation::close, ending::finished);
  return all;
}();
static_assert(!one.lacks(of_groups).empty() && of_groups.lacks(one).empty());
static_assert(!one.lacks(of_groups).has(act::join, outcome::failed) &&
              one.lacks(of_groups).has(act::join, outcome::done));

}  // namespace
}  // namespace tether::proof
