// SPDX-License-Identifier: BSL-1.0
// Groups whose devices disagree about discards: refused in both directions where a group is asked
// as a whole, counted device by device where each speaks for itself.
#include <support/may_discard.hpp>
#include <support/must.hpp>
#include <support/passthrough.hpp>
#include <support/skip.hpp>

#include <tether/inhibit/policies.hpp>

#include <doctest/doctest.h>

namespace scenario_mixed_groups {

using namespace tether;
using namespace tether_test;

namespace {

template <class Policy>
void refused_both_ways() {
  for (const bool agrees_first : {false, true}) {
    CAPTURE(agrees_first);
    passthrough<on_io_uring, Policy> w{must(on_io_uring::make())};
    auto group = must(w.dma->attach(mediated_group()));
    auto first = must(group.open("vgpu", agrees_first ? agrees_to_discards : consent::none));
    const auto before = w.state();
    CHECK(before.counts.any_holds == (agrees_first ? 0U : 1U));
    w.book.clear();
    const auto second = group.open("vgpu2", agrees_first ? consent::none : agrees_to_discards);
    REQUIRE_FALSE(second);
    CHECK(second.error().is(errc::mixed_group));
    CHECK(second.error().subject() == "vgpu2");
    CHECK(w.book.entries().empty());
    CHECK(w.state() == before);
    // Alike is welcome, and once the first is closed the other kind is too.
    must(must(group.open("vgpu2", agrees_first ? agrees_to_discards : consent::none)).close());
    must(first.close());
    CHECK(group.open("vgpu2", agrees_first ? consent::none : agrees_to_discards));
    CHECK(w.gate.counts().any_holds == (agrees_first ? 1U : 0U));
  }
}

}  // namespace

TEST_CASE("a mixed group is refused in both directions where the group or the container is asked") {
  if (auto backend = on_io_uring::make(); !backend) return skip_because(backend.error().sentence());
  refused_both_ways<inhibit_per_group>();
  refused_both_ways<inhibit_per_container>();
}

TEST_CASE(
    "in a mixed group each device that did not agree holds for itself, and the gate opens when the "
    "last of them closes") {
  if (auto backend = on_io_uring::make(); !backend) return skip_because(backend.error().sentence());
  passthrough<on_io_uring, inhibit_per_device> w{must(on_io_uring::make())};
  auto group = must(w.dma->attach(mediated_group()));
  CHECK(w.gate.counts().any_holds == 1);  // the group's own
  auto stubborn = must(group.open("vgpu"));
  CHECK(w.gate.counts().any_holds == 2);
  auto agreeing = must(group.open("vgpu2", agrees_to_discards));
  CHECK(w.gate.counts().any_holds == 1);  // the group is known now
  CHECK_FALSE(may_discard(w.gate, discard_kind::uncoordinated));
  must(agreeing.close());
  CHECK(w.gate.counts().any_holds == 1);
  must(stubborn.close());
  CHECK(w.gate.counts().any_holds == 0);
  CHECK(may_discard(w.gate, discard_kind::uncoordinated));
  // An opening that needs a hold may be refused, and changes nothing.
  const auto demand = must(w.gate.require(requirement_kind::any, "virtio-mem"));
  const auto refused = group.open("vgpu");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is(errc::discards_required));
  CHECK(refused.error().blocker() == "virtio-mem");
  CHECK(group.open("vgpu2", agrees_to_discards));
  must(group.detach());
  CHECK(w.gate.counts() == gate_counts{0, 0, 1, 0, 0});
}

}  // namespace scenario_mixed_groups
