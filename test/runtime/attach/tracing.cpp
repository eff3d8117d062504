// SPDX-License-Identifier: BSL-1.0
// A tracer is told of every operation, step by step, and of every hold: what was done, what failed
// where and why, what was rolled back.
#include <tether/attach/container.hpp>
#include <tether/attach/tracing.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/listen/observers.hpp>
#include <tether/testing/recording.hpp>

#include <support/must.hpp>
#include <support/pinning_iommu.hpp>
#include <support/ungrouped.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

namespace runtime_attach_tracing {

using namespace tether;
using namespace tether_test;

namespace {

using recorded = recording<pinning_iommu>;

/// Writes down what it is told, but for how long it took.
struct scribe {
  using slot = tracing_slot;
  std::vector<std::string> lines{};
  std::vector<std::string> containers{};

  void traced(trace_event const& what) noexcept {
    std::string line = text_of(what);
    if (const auto after = line.find(" after "); after != std::string::npos) {
      const auto end = line.find(" us", after);
      line.erase(after, end + 3 - after);
    }
    lines.push_back(line);
    containers.emplace_back(what.container);
  }
  std::vector<std::string> take() { return std::exchange(lines, {}); }
};
/// How many events there were.
struct counter {
  using slot = tracing_slot;
  unsigned seen = 0;
  void traced(trace_event const&) noexcept { ++seen; }
};

struct guest_with_ram {
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  region_id placed = must(guest.place(region::ram(ram), guest_address{0}));
  ~guest_with_ram() { must(guest.remove(placed)); }
};

const endpoint_group nics{"nics", {{"nic", pin_class::pins}}};
const endpoint_group vgpus{"vgpus", {{"vgpu", pin_class::pins_on_demand}}};
using lines = std::vector<std::string>;

}  // namespace

TEST_CASE("the life of a group and its device") {
  guest_with_ram w;
  container<recorded, scribe> dma{w.guest, w.gate};
  auto group = must(dma.attach(vgpus));
  CHECK(dma.tracer().take() == lines{"attach 'vgpus': begins", "attach 'vgpus': take hold begins",
                                     "'vgpus' holds 1: every discard is inhibited",
                                     "attach 'vgpus': take hold done",
                                     "attach 'vgpus': join begins", "attach 'vgpus': join done",
                                     "attach 'vgpus': map begins", "attach 'vgpus': map done",
                                     "attach 'vgpus': commit begins", "attach 'vgpus': commit done",
                                     "attach 'vgpus': ends, finished"});
  CHECK(dma.tracer().containers.back() == "vgpus");
  auto vgpu = must(group.open("vgpu", agrees_to_discards));
  CHECK(dma.tracer().take() ==
        lines{"open 'vgpu': begins", "open 'vgpu': judge begins", "open 'vgpu': judge done",
              "open 'vgpu': take hold begins", "open 'vgpu': take hold done",
              "open 'vgpu': populate begins", "open 'vgpu': populate done",
              "open 'vgpu': open begins", "open 'vgpu': open done", "open 'vgpu': commit begins",
              "open 'vgpu': commit done", "open 'vgpu': release hold begins",
              "'vgpus' holds 0: it inhibits no discard", "open 'vgpu': release hold done",
              "open 'vgpu': ends, finished"});
  must(vgpu.close());
  CHECK(dma.tracer().take().back() == "close 'vgpu': ends, finished");
  must(group.detach());
  CHECK(dma.tracer().take() ==
        lines{"detach 'vgpus': begins", "detach 'vgpus': unmap begins",
              "detach 'vgpus': unmap done", "detach 'vgpus': leave begins",
              "detach 'vgpus': leave done", "detach 'vgpus': commit begins",
              "detach 'vgpus': commit done", "detach 'vgpus': release hold begins",
              "detach 'vgpus': release hold done", "detach 'vgpus': ends, finished"});
}

TEST_CASE("of several containers each line says which it is") {
  guest_with_ram w;
  container<recorded, scribe> dma{w.guest, w.gate, recorded{}, "left"};
  auto group = must(dma.attach(nics));
  const auto told = dma.tracer().take();
  CHECK(told.front() == "attach 'nics' in container 'left': begins");
  CHECK(told[2] == "'nics' in container 'left' holds 1: every discard is inhibited");
  auto second = must(dma.attach(vgpus));
  for (auto const& line : dma.tracer().take())
    CHECK(line.find(" in container 'left'") != std::string::npos);
  must(group.detach());
  must(second.detach());
  container<recorded, scribe> unnamed{w.guest, w.gate};
  static_cast<void>(must(unnamed.attach(nics)));
  static_cast<void>(unnamed.tracer().take());
  static_cast<void>(must(unnamed.attach(vgpus)));
  CHECK(unnamed.tracer().take().back() ==
        "attach 'vgpus' in container 'nics': ends, finished");
}

TEST_CASE("where nothing is pinned, no hold is heard of") {
  guest_with_ram w;
  container<recording<software_iommu>, inhibit_per_device, scribe> dma{w.guest, w.gate};
  auto group = must(dma.attach(nics));
  auto second = must(dma.attach(vgpus));
  auto nic = must(group.open("nic"));
  must(nic.close());
  must(second.detach());
  must(group.detach());
  for (auto const& line : dma.tracer().take()) {
    CAPTURE(line);
    CHECK(line.find("hold") == std::string::npos);
    CHECK(line.find("populate") == std::string::npos);
  }
  CHECK(w.gate.counts() == gate_counts{});
}

TEST_CASE("what fails, where, why, and how it is rolled back") {
  guest_with_ram w;
  journal calls;
  container<recorded, scribe> dma{w.guest, w.gate, recorded{calls}};
  calls.fail_at(backend_call::map, 1, error{"map", errc::over_budget}.of("ram"));
  CHECK_FALSE(dma.attach(nics).has_value());
  auto told = dma.tracer().take();
  REQUIRE(told.size() == 14);
  CHECK(told[6] == "attach 'nics': map begins");
  CHECK(told[7].starts_with("attach 'nics': map failed: map of 'ram'"));
  CHECK(told[8] == "attach 'nics': rolling back: leave begins");
  CHECK(told[9] == "attach 'nics': rolling back: leave done");
  CHECK(told[10] == "attach 'nics': rolling back: release hold begins");
  CHECK(told[11] == "'nics' holds 0: it inhibits no discard");
  CHECK(told[12] == "attach 'nics': rolling back: release hold done");
  CHECK(told.back().starts_with("attach 'nics': ends, rolled back: map of 'ram'"));

  calls.fail_at(backend_call::join, 1, error{"join", errc::still_in_use}.with_failed_rollback());
  CHECK_FALSE(dma.attach(nics).has_value());
  told = dma.tracer().take();
  CHECK(told[5].starts_with("attach 'nics': join stuck: join"));
  CHECK(told.back().starts_with("attach 'nics': ends, diverged: join"));
  CHECK(told.size() == 7);

  must(dma.abandon());
  CHECK(dma.tracer().take() == lines{"'nics' holds 0: it inhibits no discard"});
}

TEST_CASE("an operation that is refused before it begins is not told") {
  guest_with_ram w;
  container<recorded, scribe> dma{w.guest, w.gate};
  auto group = must(dma.attach(nics));
  static_cast<void>(dma.tracer().take());
  CHECK(dma.attach(nics).error().is(errc::already_there));
  must(group.request_unplug());
  CHECK_FALSE(group.open("nic").has_value());
  CHECK(dma.tracer().lines.empty());
}

TEST_CASE("that it waits for a discard is told before it waits, and may be asked meanwhile") {
  struct doorbell {
    using slot = tracing_slot;
    std::atomic<bool> waits{false};
    std::atomic<bool> took_time{false};
    void traced(trace_event const& what) noexcept {
      if (what.step != act::raise_holds) return;
      if (what.where == trace_point::step_begins) waits = true;
      if (what.where == trace_point::step_ends) took_time = what.took != 0;
    }
  };
  guest_with_ram w;
  container<recorded, doorbell> dma{w.guest, w.gate};
  std::thread other;
  {
    const auto running = w.gate.permit(discard_kind::uncoordinated);
    REQUIRE(running);
    other = std::thread{[&] { CHECK(dma.attach(nics).has_value()); }};
    while (!dma.tracer().waits) std::this_thread::yield();
    CHECK_FALSE(dma.tracer().took_time);
    CHECK(dma.status().groups.empty());
  }
  other.join();
  CHECK(dma.tracer().took_time);
}

TEST_CASE("single devices; several tracers, each of which hears everything") {
  guest_with_ram w;
  using alone = ungrouped<recorded>;
  using both = observers<counter, scribe, counter>;
  container<alone, both> dma{w.guest, w.gate, alone{recorded{}}};
  auto nic = must(dma.attach(lone_endpoint{"nic", "12"}));
  auto& seen = dma.tracer();
  CHECK(seen.part<scribe>().lines.front() == "attach 'nic': begins");
  CHECK(seen.part<scribe>().lines.back() == "attach 'nic': ends, finished");
  CHECK(seen.part<counter>().seen == seen.part<scribe>().lines.size());
  must(nic.detach());
  CHECK(seen.part<scribe>().lines.back() == "detach 'nic': ends, finished");
}

TEST_CASE("a policy for the whole container, and names that would break a line") {
  guest_with_ram w;
  container<recorded, inhibit_per_container, scribe> dma{w.guest, w.gate};
  auto group = must(dma.attach(endpoint_group{"a\nb", {{"nic", pin_class::pins}}}));
  const auto told = dma.tracer().take();
  CHECK(told[0] == "attach 'a\\x0ab': begins");
  CHECK(told[2] == "'container' in container 'a\\x0ab' holds 1: every discard is inhibited");
  must(group.detach());
}

TEST_CASE("every act and ending has a name of its own") {
  std::vector<std::string> all;
  for (std::size_t i = 0; i != act_count; ++i) all.emplace_back(text_of(static_cast<act>(i)));
  for (std::size_t i = 0; i != all.size(); ++i) {
    for (std::size_t j = 0; j != i; ++j) CHECK(all[i] != all[j]);
  }
  CHECK(text_of(act::commit) == std::string{"commit"});
  CHECK(text_of(ending::none) == std::string{"in progress"});
}

}  // namespace runtime_attach_tracing
