// SPDX-License-Identifier: BSL-1.0
// The real container and the proof's world do the same where groups are attached. (A file for each
// unit: they take long to compile.)
#include <support/lockstep_runs.hpp>

namespace exhaustive_lockstep_groups {

TEST_CASE("lockstep: container and world agree where groups are attached") {
  tether_test::lockstep::check_every_policy<tether::attach_unit::group>();
}

}  // namespace exhaustive_lockstep_groups
