// SPDX-License-Identifier: BSL-1.0
// A container's status: what is attached, what each holds down and why, also when something failed.
// That it never waits: scenario/asked_meanwhile.
#include <tether/attach/container.hpp>
#include <tether/attach/container_status.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/testing/recording.hpp>

#include <support/must.hpp>
#include <support/pinning_iommu.hpp>
#include <support/ungrouped.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <optional>

namespace runtime_attach_container_status {

using namespace tether;
using namespace tether_test;

namespace {

using recorded = recording<pinning_iommu>;

struct guest_with_ram {
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  region_id placed = must(guest.place(region::ram(ram), guest_address{0}));
  ~guest_with_ram() { must(guest.remove(placed)); }

  /// The holds of all that a container says are those that the gate counts.
  void check(container_status const& of) const {
    std::uint32_t all = of.holds;
    for (auto const& group : of.groups) all += group.holds;
    CHECK(all == gate.status().counts.of(of.forbids));
  }
};

const endpoint_group nics{"nics", {{"nic", pin_class::pins}, {"disk", pin_class::pins}}};
const endpoint_group vgpus{"vgpus", {{"vgpu", pin_class::pins_on_demand}}};

}  // namespace

TEST_CASE("groups and devices by name, what they hold, and since when") {
  guest_with_ram w;
  const auto before = detail::now_in_seconds();
  container<recorded> dma{w.guest, w.gate};
  CHECK(dma.status() == container_status{.pins = true,
                                         .forbids = hold_kind::any,
                                         .usable_iova = dma.usable_iova()});
  auto group = must(dma.attach(nics));
  auto nic = must(group.open("nic"));
  auto other = must(dma.attach(vgpus));
  const auto lease = must(nic.lease());
  must(group.request_unplug());

  auto now = dma.status();
  w.check(now);
  CHECK(now.name == "nics");
  CHECK(now.holds == 0);
  CHECK(now.mapped == mapped_usage{1, 64 * KiB});
  CHECK(now.pinned_bytes() == 64 * KiB);
  REQUIRE(now.groups.size() == 2);
  CHECK(now.groups[0].name == "nics");
  CHECK(now.groups[0].holds == 1);
  CHECK(now.groups[0].unplug_requested);
  CHECK(now.groups[0].counts ==
        group_counts{.agreed = 0, .declined = 1, .attached = true, .consent_known = false});
  REQUIRE(now.groups[0].devices.size() == 1);
  CHECK(now.groups[0].devices[0].name == "nic");
  CHECK(now.groups[0].devices[0].agrees == consent::none);
  CHECK(now.groups[0].devices[0].leases == 1);
  CHECK(now.groups[1].name == "vgpus");
  CHECK(now.groups[1].devices.empty());
  CHECK_FALSE(now.groups[1].unplug_requested);
  const auto after = detail::now_in_seconds();
  for (auto const& one : now.groups) CHECK((before <= one.since && one.since <= after));
  CHECK((before <= now.groups[0].devices[0].since && now.groups[0].devices[0].since <= after));

  CHECK(other.open("vgpu", agrees_to_discards).has_value());
  now = dma.status();
  w.check(now);
  CHECK(now.groups[1].holds == 0);
  CHECK(now.groups[1].counts.needs_no_hold());
  CHECK(now.groups[1].devices[0].agrees == consent::given);
  CHECK(now.pinned_bytes() == 64 * KiB);
}

TEST_CASE("what closes and detaches is gone; what pins on demand only is not counted as pinned") {
  guest_with_ram w;
  container<recorded> dma{w.guest, w.gate};
  auto group = must(dma.attach(vgpus));
  auto vgpu = must(group.open("vgpu", agrees_to_discards));
  CHECK(dma.status().mapped.bytes == 64 * KiB);
  CHECK(dma.status().pinned_bytes() == 0);
  must(vgpu.close());
  CHECK(dma.status().groups[0].devices.empty());
  CHECK(dma.status().groups[0].counts.agreed == 0);
  must(group.detach());
  CHECK(dma.status() == container_status{.pins = true, .usable_iova = dma.usable_iova()});
}

TEST_CASE("a policy for the container as a whole, and blocks") {
  guest_with_ram w;
  container<recorded, inhibit_per_container, fixed_block<64 * KiB>> dma{w.guest, w.gate};
  auto group = must(dma.attach(nics));
  auto now = dma.status();
  w.check(now);
  CHECK(now.forbids == hold_kind::uncoordinated);
  CHECK(now.holds == 1);
  CHECK(now.groups[0].holds == 0);
  must(group.detach());
  CHECK(dma.status().holds == 0);
}

TEST_CASE("single devices, in their IOMMU group") {
  guest_with_ram w;
  container<ungrouped<recorded>> dma{w.guest, w.gate, ungrouped<recorded>{recorded{}}};
  auto nic = must(dma.attach(lone_endpoint{"nic", "12"}));
  const auto agreeing =
      dma.attach(lone_endpoint{"vgpu", "13", pin_class::pins_on_demand}, agrees_to_discards);
  CHECK(agreeing.has_value());
  auto now = dma.status();
  w.check(now);
  CHECK(now.name == "nic");
  REQUIRE(now.groups.size() == 2);
  CHECK(now.groups[0].name == "12");
  CHECK(now.groups[0].devices[0].name == "nic");
  CHECK(now.groups[0].holds == 1);
  CHECK(now.groups[1].holds == 0);
  must(nic.detach());
  now = dma.status();
  w.check(now);
  REQUIRE(now.groups.size() == 1);
  CHECK(now.name == "vgpu");
}

TEST_CASE("a container that has diverged shows the holds that it keeps") {
  guest_with_ram w;
  journal calls;
  container<recorded> dma{w.guest, w.gate, recorded{calls}};
  auto group = must(dma.attach(vgpus));
  CHECK(group.open("vgpu", agrees_to_discards).has_value());
  auto other = must(dma.attach(nics));
  calls.fail_at(backend_call::leave, 1, error{"leave", errc::still_in_use}.with_failed_rollback());
  CHECK_FALSE(other.detach().has_value());
  auto now = dma.status();
  w.check(now);
  CHECK(now.diverged);
  CHECK(now.groups[1].holds == 1);
  // a device whose opening is stuck keeps the hold that was taken for it
  must(dma.abandon());
  CHECK(dma.status().groups.empty());
  CHECK_FALSE(dma.status().diverged);
  group = must(dma.attach(vgpus));
  auto vgpu = must(group.open("vgpu", agrees_to_discards));
  must(vgpu.close());
  CHECK(dma.status().groups[0].holds == 0);
  calls.fail_at(backend_call::open, 1, error{"open", errc::still_in_use}.with_failed_rollback());
  CHECK_FALSE(group.open("vgpu").has_value());
  now = dma.status();
  w.check(now);
  CHECK(now.diverged);
  CHECK(now.groups[0].holds == 1);
  must(dma.abandon());
  w.check(dma.status());
}

}  // namespace runtime_attach_container_status
