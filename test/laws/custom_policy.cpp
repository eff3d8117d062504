// SPDX-License-Identifier: BSL-1.0
// The policies of examples/custom_policy.hpp under the laws that tether's own are held to: this is
// all that a user's own policy takes to be checked.
#include <laws/granularity.hpp>
#include <laws/inhibition.hpp>

#include "../../examples/custom_policy.hpp"

#include <doctest/doctest.h>

#include <cstdint>

namespace laws_custom_policy {

using namespace tether;

TEST_CASE_TEMPLATE("law: a user's own granularity tiles a section as ours do, from any border",
                   Granularity, custom::one_for_each_module<64 * KiB>,
                   custom::one_for_each_module<3 * MiB>, custom::one_for_each_module<96 * MiB>) {
  constexpr page_sizes small_pages{4 * KiB};
  constexpr page_sizes pc_pages{4 * KiB | 2 * MiB | GiB};
  constexpr page_sizes large_pages{64 * KiB | 512 * MiB};
  for (const page_sizes sizes : {small_pages, pc_pages, large_pages}) {
    const std::uint64_t page = sizes.smallest();
    for (const std::uint64_t offset : {std::uint64_t{0}, page, 3 * MiB - page, 3 * MiB, 95 * MiB}) {
      for (const std::uint64_t bytes : {page, 3 * MiB, 3 * MiB + page, 16 * MiB}) {
        laws::check_granularity<Granularity>(
            laws::cut_of(GiB + offset, 0x7f00'0000'0000 + offset, offset, bytes, sizes));
      }
    }
  }
}

TEST_CASE(
    "law: a user's own inhibition policy holds exactly while somebody may pin, and closing never "
    "needs a hold") {
  CHECK(laws::holds_exactly_while_needed<custom::inhibit_and_count>());
  CHECK(laws::closing_never_needs_a_hold<custom::inhibit_and_count>());
  CHECK(laws::attaching_releases_nothing<custom::inhibit_and_count>());
  CHECK(laws::treats_many_as_few<custom::inhibit_and_count>());
  CHECK(laws::an_empty_container_holds_nothing<custom::inhibit_and_count>());
}

}  // namespace laws_custom_policy
