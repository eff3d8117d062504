// SPDX-License-Identifier: BSL-1.0
// What is demanded of a search of units, and that one which has not seen it proves nothing.
#include <tether/proof/units/coverage.hpp>

namespace tether::proof {
namespace {

constexpr auto wanted = demanded_of_units<unit_scope<2, 2>>();
static_assert(wanted.has(unit_call::map, unit_outcome::stuck) &&
              wanted.has(unit_call::withdraw, unit_outcome::failed) &&
              wanted.has(source_task::discard, unit_outcome::stuck) &&
              wanted.has(follower_task::abandon, unit_outcome::done));
static_assert(!wanted.has(unit_call::enter, unit_outcome::stuck), "a lock is taken, or is not");
static_assert(!demanded_of_units<unit_scope<1, 1>>().has(unit_call::agree, unit_outcome::done) &&
              wanted.has(unit_call::agree, unit_outcome::done));
static_assert(!demanded_of_units<unit_scope<1, 1>>().has(unit_call::unmap_again,
                                                         unit_outcome::done));

constexpr unit_coverage some = [] {
  unit_coverage all{};
  all.add(unit_call::map, unit_outcome::failed);
  all.add(source_task::populate, unit_outcome::done);
  unit_coverage more{};
  more.add(follower_task::attach, unit_outcome::stuck);
  all.add(more);
  return all;
}();
static_assert(some.has(unit_call::map, unit_outcome::failed) &&
              !some.has(unit_call::map, unit_outcome::done));
static_assert(some.has(source_task::populate, unit_outcome::done) &&
              some.has(follower_task::attach, unit_outcome::stuck));
static_assert(some.lacks(wanted).has(unit_call::map, unit_outcome::done) &&
              !some.lacks(wanted).has(unit_call::map, unit_outcome::failed));
static_assert(wanted.lacks(wanted).empty() && !some.empty());
static_assert(name_of(unit_call::wait) == "waits" && name_of(follower_task::work) == "work" &&
              name_of(source_task::fence) == "fence" &&
              name_of(unit_outcome::stuck) == "gets stuck");

}  // namespace
}  // namespace tether::proof
