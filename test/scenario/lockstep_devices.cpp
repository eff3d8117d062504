// SPDX-License-Identifier: BSL-1.0
// The real container and the proof's world do the same, where single devices are attached: under every policy, with KVM told and not told.
#include <support/lockstep_runs.hpp>

#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/inhibit_per_container.hpp>
#include <tether/inhibit/inhibit_per_device.hpp>
#include <tether/inhibit/inhibit_per_group.hpp>
#include <tether/inhibit/no_inhibition.hpp>

#include <doctest/doctest.h>

using namespace tether;
using namespace tether_test;
using namespace tether_test::lockstep;

namespace {

template <class Inhibition, bool TellsKvm = false, class Granularity = whole_section>
using pinning = compared<true, attach_unit::device, TellsKvm, Inhibition, Granularity>;

}  // namespace

TEST_CASE("lockstep, devices: container and world agree under inhibit_per_container") {
  check<pinning<inhibit_per_container>>("devices, inhibit_per_container");
}
TEST_CASE("lockstep, devices: container and world agree under inhibit_per_group") {
  check<pinning<inhibit_per_group>>("devices, inhibit_per_group");
}
TEST_CASE("lockstep, devices: container and world agree under inhibit_per_device") {
  check<pinning<inhibit_per_device>>("devices, inhibit_per_device");
}
TEST_CASE("lockstep, devices: container and world agree under a policy that holds for groups and for the container") {
  check<pinning<holds_twice>>("devices, a policy of two scopes");
}
TEST_CASE("lockstep, devices: container and world agree where maps go block by block and holds are uncoordinated") {
  check<pinning<inhibit_per_group, false, fixed_block<4 * KiB>>>("devices, blocks");
}
TEST_CASE("lockstep, devices: container and world agree where nothing is pinned and nobody held down") {
  check<compared<false, attach_unit::device, false, no_inhibition>>("devices, nothing pinned");
}
TEST_CASE("lockstep, devices, KVM told: container and world agree under inhibit_per_container") {
  check<pinning<inhibit_per_container, true>>("devices, KVM told, inhibit_per_container");
}
TEST_CASE("lockstep, devices, KVM told: container and world agree under inhibit_per_group") {
  check<pinning<inhibit_per_group, true>>("devices, KVM told, inhibit_per_group");
}
TEST_CASE("lockstep, devices, KVM told: container and world agree under inhibit_per_device") {
  check<pinning<inhibit_per_device, true>>("devices, KVM told, inhibit_per_device");
}
