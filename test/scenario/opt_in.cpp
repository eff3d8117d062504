// SPDX-License-Identifier: BSL-1.0
// Opting in to discards: for endpoints that pin on demand, refused to all others, judged before
// anything is touched; and groups whose devices disagree.
#include <support/may_discard.hpp>
#include <support/must.hpp>
#include <support/passthrough.hpp>
#include <support/skip.hpp>

#include <tether/discard/balloon.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/policies.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

namespace scenario_opt_in {

using namespace tether;
using namespace tether_test;

namespace {

template <class Rig>
std::uint32_t holds(Rig& rig) {
  return rig.gate.counts().any_holds + rig.gate.counts().uncoordinated_holds;
}

template <class... Policies>
void refused_to_whoever_pins() {
  passthrough<on_io_uring, Policies...> w{must(on_io_uring::make())};
  auto nics = must(w.dma->attach(pinning_group()));
  auto mixed = must(w.dma->attach(
      endpoint_group{"mixed", {{"hard", pin_class::pins}, {"soft", pin_class::pins_on_demand}}}));
  const auto before = w.state();
  w.book.clear();
  for (auto* group : {&nics, &mixed}) {
    for (const char* name : {"nic", "hard", "soft"}) {
      const auto refused = group->open(name, agrees_to_discards);
      REQUIRE_FALSE(refused);
      // One endpoint that pins makes the whole group pin, because a group is attached whole.
      CHECK(
          (refused.error().is(errc::consent_refused) || refused.error().is(errc::no_such_device)));
    }
  }
  CHECK(nics.open("nic", agrees_to_discards).error().sentence().find("tether[O1]") !=
        std::string::npos);
  CHECK(w.book.entries().empty());
  CHECK(w.state() == before);
  CHECK(nics.open("nic"));
}

template <class... Policies>
void opens_the_gate() {
  passthrough<on_io_uring, Policies...> w{must(on_io_uring::make())};
  balloon inflator{w.guest, w.gate};
  const std::vector<std::uint32_t> frames{0, 1, 2, 256};
  auto group = must(w.dma->attach(mediated_group()));
  // Nobody knows yet whether the IOMMU pins for it.
  CHECK(holds(w) == 1);
  CHECK(inflator.inflate(frames).inhibited == 4);
  auto vgpu = must(group.open("vgpu", agrees_to_discards));
  CHECK(holds(w) == 0);
  CHECK(inflator.inflate(frames).discarded == 4);
  // the balloon took pages away from under it, and it sees what the guest sees
  CHECK(w.disagreements(*vgpu) == 0);
  w.fill();
  CHECK(w.disagreements(*vgpu) == 0);
  // What was inhibited is not made up for.
  must(vgpu.close());
  CHECK(holds(w) == 0);  // it stays known
  must(group.detach());
  auto again = must(w.dma->attach(mediated_group()));
  CHECK(holds(w) == 1);  // and is forgotten with the group
  must(again.detach());
  CHECK(w.stale_strikes == 0);
}

}  // namespace

TEST_CASE(
    "an endpoint that pins for good cannot agree to discards; it is told so and no hold changes") {
  if (auto backend = on_io_uring::make(); !backend) return skip_because(backend.error().sentence());
  refused_to_whoever_pins<inhibit_per_group>();
  refused_to_whoever_pins<inhibit_per_container>();
  refused_to_whoever_pins<inhibit_per_device, fixed_block<64 * KiB>>();
}
TEST_CASE(
    "a group is held down until one of its devices agrees, and a balloon goes on under it from "
    "then on") {
  if (auto backend = on_io_uring::make(); !backend) return skip_because(backend.error().sentence());
  opens_the_gate<inhibit_per_group>();
  opens_the_gate<inhibit_per_container>();
  opens_the_gate<inhibit_per_device, fixed_block<64 * KiB>>();
}
TEST_CASE(
    "consent cannot be given to a backend that pins nothing for an endpoint that says it pins") {
  passthrough<on_software> w{must(on_software::make())};
  auto nics = must(w.dma->attach(pinning_group()));
  CHECK(nics.open("nic", agrees_to_discards).error().is(errc::consent_refused));
  auto vgpus = must(w.dma->attach(mediated_group()));
  CHECK(vgpus.open("vgpu", agrees_to_discards));
  CHECK(holds(w) == 0);
  CHECK(may_discard(w.gate, discard_kind::uncoordinated));
}

}  // namespace scenario_opt_in
