// SPDX-License-Identifier: BSL-1.0
// A policy's answers as a world counts them: as they are where they fit, else by their order.
#include <tether/proof/scaled_holds.hpp>

#include <tether/inhibit/inhibit_per_container.hpp>
#include <tether/inhibit/inhibit_per_device.hpp>
#include <tether/proof/essence.hpp>

#include <support/proof_seeds.hpp>

namespace tether::proof {
namespace {

using seeds::counts_in_tens;
using seeds::counts_sixteen;

template <class Policy>
constexpr std::uint32_t for_group(std::uint32_t agreed, std::uint32_t others, bool known) {
  return scaled_holds<Policy, small_scope>::needed(group_tally{agreed, others, true, known});
}

// As they are.
static_assert(for_group<inhibit_per_device>(0, 2, true) == 2 && for_group<inhibit_per_device>(0, 2, false) == 3);
static_assert(scaled_holds<inhibit_per_container, small_scope>::needed(container_tally{2, 1}) == 1);

// By their order, none staying none: 0, 10, 20, 30.
static_assert(for_group<counts_in_tens>(2, 0, true) == 0 && for_group<counts_in_tens>(0, 1, true) == 1);
static_assert(for_group<counts_in_tens>(0, 2, true) == 2 && for_group<counts_in_tens>(0, 2, false) == 3);
static_assert(for_group<counts_in_tens>(0, 0, false) == for_group<counts_in_tens>(0, 1, true));
static_assert(for_group<counts_sixteen>(0, 0, false) == 1 && for_group<counts_sixteen>(1, 0, true) == 0);
static_assert(scaled_holds<counts_sixteen, small_scope>::needed(group_tally{}) == 0);

}  // namespace
}  // namespace tether::proof
