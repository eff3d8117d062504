// SPDX-License-Identifier: BSL-1.0
// The search at run time is the one inside the compiler: it finds the same, by the same way.
#include <tether/proof/search/at_run_time.hpp>

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/proof/search/at_compile_time.hpp>

#include <doctest/doctest.h>

#include <cstdint>

namespace runtime_proof_search_at_run_time {

using namespace tether;
using namespace tether::proof;

namespace {

using subject = abstraction<inhibit_per_group, standard_lifecycle>;
using unprotected = abstraction<no_inhibition, standard_lifecycle>;

}  // namespace

TEST_CASE(
    "the search at run time counts the worlds and the events that the one inside the compiler "
    "counts") {
  using tiny = scope<1, 1, 1, permits::momentary>;
  const findings found = search<subject, tiny>();
  CHECK(found.safe());
  CHECK(found.description().view().empty());
  CHECK(found.states == explored<subject, tiny>.found.size);
  CHECK(found.transitions == explored<subject, tiny>.now.transitions);
  CHECK((found.reached == explored<subject, tiny>.now.reached));
}

TEST_CASE(
    "the search at run time tells the same counterexample, and numbers containers where there are "
    "several") {
  const findings found = search<unprotected>();
  CHECK_FALSE(found.safe());
  CHECK(found.description().view() ==
        "stale mapping after: attach IOMMU-backed group 0: join container; group 0: map; balloon "
        "discards; guest touches");
  CHECK(search<unprotected, scope<2, 1, 1>>().description().view() ==
        "stale mapping after: container 0: attach IOMMU-backed group 0: join container; container "
        "0: group 0: map; balloon gets permit; "
        "balloon discards; guest touches");
}

TEST_CASE("the search at run time is bounded, says so, and lets itself be watched") {
  std::uint64_t seen = 0;
  const auto watch = [&](progress const& now) { seen = now.transitions; };
  const findings all = search<subject, small_scope>(watch);
  CHECK(seen == all.transitions);
  const findings some = search<subject, scope<2, 2, 2>>(watch, 10);
  CHECK_FALSE(some.complete);
  CHECK_FALSE(some.safe());
  CHECK(some.broken == 0);
}

TEST_CASE("a table that grows forgets nothing") {
  growing_table<key<small_scope>> table;
  for (std::uint32_t i = 0; i < 5000; ++i)
    CHECK((table.add(key<small_scope>{{i}}, i) == entry::fresh));
  for (std::uint32_t i = 0; i < 5000; ++i)
    CHECK((table.add(key<small_scope>{{i}}, 0) == entry::seen));
  CHECK(table.size == 5000);
  CHECK(table.from[4999] == 4999);
}

}  // namespace runtime_proof_search_at_run_time
