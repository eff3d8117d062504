// SPDX-License-Identifier: BSL-1.0
// Every operation of a container fails at every call that it makes to the backend, in turn, until
// none is left: refused, it leaves everything as it was (law 11); stuck, it keeps its holds until
// it is abandoned (law 6).
#include <support/passthrough.hpp>
#include <support/skip.hpp>

#include <tether/granule/fixed_block.hpp>
#include <tether/granule/largest_page.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/inhibit/policies.hpp>

#include <doctest/doctest.h>

#include <concepts>
#include <cstdint>
#include <string>
#include <vector>

namespace exhaustive_fault_sweep {

using namespace tether;
using namespace tether_test;

namespace {

const error injected = error{"injected", errc::memory_gone};

/// One operation to sweep: how the container comes there, and the operation.
template <class Rig>
struct story {
  const char* name;
  void (*prepare)(Rig&);
  result<void> (*act)(Rig&);
  bool withdraws = false;
};

template <class T>
result<void> plain(result<T> const& done) {
  return done ? result<void>{} : failure(done.error());
}
/// A rig that remembers its handles.
template <class Model, class... Policies>
struct rig : passthrough<Model, Policies...> {
  using base = passthrough<Model, Policies...>;
  using base::base;
  std::vector<typename base::container_type::attached> groups;
  std::vector<typename base::container_type::opened> devices;

  void attach(endpoint_group const& group) { groups.push_back(must(this->dma->attach(group))); }
  void open(std::size_t group, const char* device, consent agrees = consent::none) {
    devices.push_back(must(groups.at(group).open(device, agrees)));
  }
};

/// Takes registers and RAM away and puts other RAM in both places, in one commit.
template <class Rig>
result<void> rearrange(Rig& r) {
  auto change = r.guest.begin();
  if (auto done = change.remove(r.registers); !done) return done;
  if (auto done = change.remove(r.high_region); !done) return done;
  if (auto id = change.place(region::ram(*r.spare), guest_address{2 * MiB}); !id)
    return failure(id.error());
  if (auto id = change.place(region::mmio("more registers", 8192), guest_address{0x10000}, 1); !id)
    return failure(id.error());
  return plain(change.commit());
}

template <class Rig>
std::vector<story<Rig>> stories() {
  return {
      {"attach the first group", [](Rig&) {},
       [](Rig& r) { return plain(r.dma->attach(pinning_group())); }},
      {"attach the first group, mediated", [](Rig&) {},
       [](Rig& r) { return plain(r.dma->attach(mediated_group())); }},
      {"attach another group", [](Rig& r) { r.attach(pinning_group()); },
       [](Rig& r) { return plain(r.dma->attach(pinning_group("disks"))); }},
      {"attach a pinning group to a mediated one without a hold",
       [](Rig& r) {
         r.attach(mediated_group());
         r.open(0, "vgpu", agrees_to_discards);
       },
       [](Rig& r) { return plain(r.dma->attach(pinning_group())); }},
      {"open", [](Rig& r) { r.attach(pinning_group()); },
       [](Rig& r) { return plain(r.groups[0].open("nic")); }},
      {"open and agree", [](Rig& r) { r.attach(mediated_group()); },
       [](Rig& r) { return plain(r.groups[0].open("vgpu", agrees_to_discards)); }},
      {"open a second one that agrees",
       [](Rig& r) {
         r.attach(mediated_group());
         r.open(0, "vgpu", agrees_to_discards);
       },
       [](Rig& r) { return plain(r.groups[0].open("vgpu2", agrees_to_discards)); }},
      {"open in a known group, without consent",
       [](Rig& r) {
         r.attach(mediated_group());
         r.open(0, "vgpu", agrees_to_discards);
         must(r.devices[0].close());
       },
       [](Rig& r) { return plain(r.groups[0].open("vgpu2")); }},
      {"close",
       [](Rig& r) {
         r.attach(pinning_group());
         r.open(0, "nic");
       },
       [](Rig& r) { return r.devices[0].close(); }},
      {"detach one of two",
       [](Rig& r) {
         r.attach(pinning_group());
         r.attach(mediated_group());
       },
       [](Rig& r) { return r.groups[1].detach(); }},
      {"detach the pinning one of two",
       [](Rig& r) {
         r.attach(mediated_group());
         r.attach(pinning_group());
       },
       [](Rig& r) { return r.groups[1].detach(); }},
      {"detach the last group", [](Rig& r) { r.attach(pinning_group()); },
       [](Rig& r) { return r.groups[0].detach(); }, true},
      {"detach the last group, without a hold",
       [](Rig& r) {
         r.attach(mediated_group());
         r.open(0, "vgpu", agrees_to_discards);
         must(r.devices[0].close());
       },
       [](Rig& r) { return r.groups[0].detach(); }, true},
      {"commit", [](Rig& r) { r.attach(pinning_group()); }, [](Rig& r) { return rearrange(r); }},
      {"commit without a pinning group", [](Rig& r) { r.attach(mediated_group()); },
       [](Rig& r) { return rearrange(r); }},
      {"remove a region", [](Rig& r) { r.attach(pinning_group()); },
       [](Rig& r) { return r.guest.remove(r.high_region); }},
      {"forbid writes", [](Rig& r) { r.attach(pinning_group()); },
       [](Rig& r) { return r.guest.set_read_only(r.high_region, true); }},
  };
}

/// Detaches all and looks whether anything is left.
template <class Rig>
void tear_down(Rig& r, seen_state const& fresh) {
  r.dma->backend().log().clear_faults();
  for (auto& group : r.groups) static_cast<void>(group.detach());
  for (auto const* name : {"nics", "disks", "vgpus"}) {
    auto again = r.dma->attach(endpoint_group{name, {{"probe", pin_class::pins}}});
    if (!again) continue;  // the operation under test attached it, its handle is gone
    must(again->detach());
  }
  r.dma.reset();
  CHECK(r.gate.counts() == gate_counts{});
  CHECK(pinned_by_the_kernel() == fresh.pinned_by_kernel);
  CHECK(r.stale_strikes == 0);
}

/// After a divergence everything is refused, and the holds stand; `abandon` makes it new.
template <class Rig>
void check_diverged(Rig& r, seen_state const& before) {
  const auto after = r.state();
  CHECK(after.diverged);
  CHECK(after.holds() >= before.holds());
  if (after.pinned != 0) CHECK(after.holds() != 0);
  const auto refused = [](auto const& done) { return !done && done.error().is(errc::diverged); };
  CHECK(refused(r.dma->attach(pinning_group("late"))));
  for (auto& group : r.groups) {
    CHECK(refused(group.open("nic")));
    CHECK(refused(group.detach()));
  }
  // The guest's map may still change where it must; what a device may reach is kept from being
  // freed.
  const auto held = r.gate.counts();
  auto change = r.guest.begin(commit_kind::compulsory);
  for (auto id : {r.low_region, r.rom_region, r.high_region})
    static_cast<void>(change.set_enabled(id, false));
  static_cast<void>(must(change.commit()));
  CHECK(r.gate.counts() == held);
  for (ram_block* block : r.perhaps_mapped()) {
    CHECK_MESSAGE(block->backing().references() > (block == r.spare.get() ? 0U : 1U),
                  block->name());
  }
  r.book.clear_faults();
  must(r.dma->abandon());
  const auto anew = r.state();
  CHECK(anew.holds() == 0);
  CHECK(anew.holders.empty());
  CHECK(anew.membership == container_counts{});
  CHECK(anew.usage == mapped_usage{});
  CHECK(anew.pinned == 0);
  CHECK_FALSE(anew.diverged);
  for (auto& group : r.groups) CHECK(group.detach().error().is(errc::stale_handle));
  r.groups.clear();
  r.devices.clear();
  for (auto id : {r.low_region, r.rom_region, r.high_region})
    static_cast<void>(r.guest.set_enabled(id, true));
  auto group = must(r.dma->attach(pinning_group()));
  auto device = must(group.open("nic"));
  CHECK(r.disagreements(*device) == 0);
  must(group.detach());
}

/// The n-th call fails, for every n. Answers how many calls there were.
template <class Model, class... Policies>
std::uint64_t sweep_refused(story<rig<Model, Policies...>> const& one) {
  for (std::uint64_t n = 1;; ++n) {
    CAPTURE(n);
    rig<Model, Policies...> r{must(Model::make())};
    const auto fresh = r.state();
    one.prepare(r);
    const auto before = r.state();
    r.book.fail_at(n, injected);
    const auto done = one.act(r);
    const bool struck = r.book.faults_left() == 0;
    r.book.clear_faults();
    if (!struck) {
      CHECK(done);
      CHECK_FALSE(r.state().diverged);
      tear_down(r, fresh);
      return n - 1;
    }
    REQUIRE_FALSE(done);
    CHECK(done.error().is(errc::memory_gone));
    // what a detach cannot unmap, nobody can take back
    if (r.book.entries().back().what == backend_call::unmap && one.withdraws) {
      CHECK(done.error().rollback_failed());
      check_diverged(r, before);
      continue;
    }
    CHECK_FALSE(done.error().rollback_failed());
    const auto after = r.state();
    CHECK_MESSAGE(after == before, after.text() << "\nbefore: " << before.text());
    // It was only that once: the same works now.
    must(one.act(r));
    tear_down(r, fresh);
  }
}

/// The n-th call does not know what it left behind, for every n.
template <class Model, class... Policies>
void sweep_stuck(story<rig<Model, Policies...>> const& one, std::uint64_t calls) {
  for (std::uint64_t n = 1; n <= calls; ++n) {
    CAPTURE(n);
    rig<Model, Policies...> r{must(Model::make())};
    one.prepare(r);
    const auto before = r.state();
    r.book.fail_at(n, injected.with_failed_rollback());
    const auto done = one.act(r);
    REQUIRE(r.book.faults_left() == 0);
    REQUIRE_FALSE(done);
    CHECK(done.error().is(errc::memory_gone));
    CHECK(done.error().rollback_failed());
    check_diverged(r, before);
    CHECK(r.stale_strikes == 0);
  }
}

/// The n-th call fails, and the m-th of its undo as well.
template <class Model, class... Policies>
void sweep_twice(story<rig<Model, Policies...>> const& one, std::uint64_t calls,
                 std::uint64_t& diverged) {
  for (std::uint64_t n = 1; n <= calls; ++n) {
    for (std::uint64_t m = n + 1;; ++m) {
      CAPTURE(n);
      CAPTURE(m);
      rig<Model, Policies...> r{must(Model::make())};
      const auto fresh = r.state();
      one.prepare(r);
      const auto before = r.state();
      r.book.fail_at(n, injected);
      r.book.fail_at(m, error{"injected in the undo", errc::still_in_use});
      const auto done = one.act(r);
      const auto left = r.book.faults_left();
      r.book.clear_faults();
      REQUIRE_FALSE(done);
      CHECK(done.error().is(errc::memory_gone));
      // a withdrawal that could not unmap: there is no undo to fail
      if (left != 0 && done.error().rollback_failed()) {
        CHECK(one.withdraws);
        check_diverged(r, before);
        break;
      }
      if (left != 0) {  // its undo made no such call
        CHECK_MESSAGE(r.state() == before, r.state().text() << "\nbefore: " << before.text());
        must(one.act(r));
        tear_down(r, fresh);
        break;
      }
      CHECK(done.error().rollback_failed());
      diverged += 1;
      check_diverged(r, before);
      CHECK(r.stale_strikes == 0);
    }
  }
}

template <class Model, class... Policies>
void sweep_all(const char* policies) {
  const std::string where = std::string{Model::name} + ", " + policies;
  CAPTURE(where);
  std::uint64_t diverged = 0;
  for (auto const& one : stories<rig<Model, Policies...>>()) {
    const std::string story_name = one.name;
    CAPTURE(story_name);
    const std::uint64_t calls = sweep_refused<Model, Policies...>(one);
    CHECK(calls != 0);
    sweep_stuck<Model, Policies...>(one, calls);
    if constexpr (!std::same_as<typename configuration<recording<typename Model::backend_type>,
                                                       Policies...>::granularity,
                                largest_page>) {
      sweep_twice<Model, Policies...>(one, calls, diverged);
    } else {
      diverged += calls;  // a hundred pieces to the power of two would teach nothing new
    }
  }
  CHECK(diverged > 5);
}

/// Where letting go of a page takes a second: the failures of one configuration, once each.
template <class Model>
void sweep_shortly() {
  MESSAGE("this kernel lets pages go slowly: only some paths are walked");
  for (auto const& one : stories<rig<Model, inhibit_per_group, whole_section>>()) {
    const std::string story_name = one.name;
    CAPTURE(story_name);
    if (story_name == "attach the first group" || story_name == "detach the last group" ||
        story_name == "commit") {
      CHECK(sweep_refused<Model, inhibit_per_group, whole_section>(one) != 0);
    }
  }
}

template <class Model>
void sweep_granularities() {
  if (auto backend = Model::make(); !backend) return skip_because(backend.error().sentence());
  if (Model::backend_type::pins && unpins_slowly()) return sweep_shortly<Model>();
  sweep_all<Model, inhibit_per_group, whole_section>("per group, whole sections");
  sweep_all<Model, inhibit_per_container, largest_page>("per container, largest pages");
  sweep_all<Model, inhibit_per_device, fixed_block<64 * KiB>>("per device, 64 KiB");
}

}  // namespace

TEST_CASE(
    "an operation that fails at any call leaves holds, mappings, descriptors and memory as they "
    "were, on a software IOMMU") {
  sweep_granularities<on_software>();
}
TEST_CASE(
    "an operation that fails at any call leaves holds, pins, descriptors and memory as they were, "
    "on io_uring's pins") {
  sweep_granularities<on_io_uring>();
}

}  // namespace exhaustive_fault_sweep
