// SPDX-License-Identifier: BSL-1.0
// Kills mutants: a small version of the lockstep of test/exhaustive, so that a mutant is tried in
// seconds.
#pragma once

#include <support/lockstep_runs.hpp>

#include <doctest/doctest.h>

namespace tether_test::lockstep {

template <class Configuration>
void compare_in_small() {
  all_sequences<Configuration> all;
  all.run(3);
  judge(all.pair);
  in_lockstep<Configuration> two{2};
  random_sequences(two, 5'000, seed());
  judge(two);
}

/// A policy of two scopes without KVM, a usual one with it.
template <tether::attach_unit Unit>
void compare_both() {
  compare_in_small<compared<true, Unit, false, holds_twice, tether::whole_section>>();
  compare_in_small<compared<true, Unit, true, tether::inhibit_per_group, tether::whole_section>>();
}

}  // namespace tether_test::lockstep
