// SPDX-License-Identifier: BSL-1.0
// In portions a search inside the compiler finds what it finds in one go, and its table grows where
// it has to.
#include <tether/proof/search/at_compile_time.hpp>

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/proof/model/abstraction.hpp>

namespace tether::proof {
namespace {

using tiny = scope<1, 1, 1, permits::momentary>;
using subject = abstraction<inhibit_per_group, lifecycle_of<attach_unit::group>>;
using unprotected = abstraction<no_inhibition, lifecycle_of<attach_unit::group>>;

static_assert(explored<subject, tiny>.finished() && explored<subject, tiny>.now.broken == 0);
static_assert(counterexample_of<subject, tiny>.length == 0 &&
              counterexample_of<unprotected, tiny>.length == 4);

// Grown, it knows all that it knew, and goes on.
constexpr auto small_one = [] {
  detail::search_with<subject, tiny, every_property, 16> search{};
  search.begin();
  search.expand(1000);
  return search;
}();
static_assert(small_one.now.full);
constexpr auto large_one = detail::next_portion<subject, tiny, every_property, 64>(small_one);
static_assert(large_one.found.size == small_one.found.size && !large_one.now.full);
static_assert(large_one.now.expanded == small_one.now.expanded &&
              large_one.now.transitions == small_one.now.transitions);
// And ends as if the table had been large enough from the first: nothing is lost, nothing counted
// twice.
constexpr auto gone_on = [] {
  auto search = detail::next_portion<subject, tiny, every_property, 256>(small_one);
  search.expand(1000);
  return search;
}();
static_assert(gone_on.finished() && gone_on.found.size == explored<subject, tiny>.found.size);
static_assert(gone_on.now.transitions == explored<subject, tiny>.now.transitions);
static_assert(gone_on.now.reached == explored<subject, tiny>.now.reached);

}  // namespace
}  // namespace tether::proof
