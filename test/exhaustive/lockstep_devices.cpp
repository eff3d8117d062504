// SPDX-License-Identifier: BSL-1.0
// The real container and the proof's world do the same where single devices are attached. (A file
// for each unit: they take long to compile.)
#include <support/lockstep_runs.hpp>

namespace exhaustive_lockstep_devices {

TEST_CASE("lockstep: container and world agree where single devices are attached") {
  tether_test::lockstep::check_every_policy<tether::attach_unit::device>();
}

}  // namespace exhaustive_lockstep_devices
