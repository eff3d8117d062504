// SPDX-License-Identifier: BSL-1.0
// What a rule answers in the program must be what it answered inside the compiler.
#include <tether/inhibit/detail/truth_table.hpp>

#include <tether/inhibit/policies.hpp>

#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <type_traits>

namespace runtime_inhibit_detail_truth_table {

using namespace tether;
using namespace tether::detail;

namespace {

/// Right while it is looked at.
struct two_faced {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return std::is_constant_evaluated() && group.attached && !group.needs_no_hold() ? 1 : 0;
  }
};
struct admits_in_the_program {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.attached && !group.needs_no_hold() ? 1 : 0;
  }
  static constexpr bool admits(group_counts group) noexcept {
    return !std::is_constant_evaluated() || group.agreed == 0 || group.declined == 0;
  }
};
struct one_more_in_the_program {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(container_counts all) noexcept {
    return all.need_no_hold == all.members                   ? 0
           : std::is_constant_evaluated() || all.members < 9 ? 1
                                                             : 2;
  }
};
static_assert(sound_rule<two_faced> && sound_rule<admits_in_the_program> &&
                  sound_rule<one_more_in_the_program>,
              "as far as it can know");

}  // namespace

TEST_CASE_TEMPLATE("our own rules answer in the program as they do inside the compiler", Policy,
                   inhibit_per_group, inhibit_per_device, inhibit_per_container, no_inhibition) {
  detail::check_at_run_time<Policy>();
  detail::check_at_run_time<Policy>();
}

TEST_CASE_TEMPLATE("a rule that answers otherwise in the program stops it", Policy, two_faced,
                   admits_in_the_program, one_more_in_the_program) {
  CHECK(tether_test::stopped_by([] { detail::check_at_run_time<Policy>(); }).find("tether[I16]") !=
        std::string::npos);
}

}  // namespace runtime_inhibit_detail_truth_table
