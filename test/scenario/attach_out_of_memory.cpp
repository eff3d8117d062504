// SPDX-License-Identifier: BSL-1.0
// The process runs out of memory at every allocation of every operation of a container in turn: an
// attach, an open or a commit is refused and nothing has changed; a close, a detach and an abandon
// need no memory at all.
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/policies.hpp>

#include <support/failing_allocation.hpp>
#include <support/must.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <system_error>
#include <vector>

namespace scenario_attach_out_of_memory {

using namespace tether;
using tether_test::allocations_can_fail;
using tether_test::cannot_fail_allocations;
using tether_test::failing_allocation;
using tether_test::must;

namespace {

constexpr const char* device_name = "a device whose name is too long to be kept in place";
endpoint_group const nics{"a group whose name is too long to be kept in place",
                          {{device_name, pin_class::pins}}};
endpoint_group const disks{"another group whose name is too long as well",
                           {{device_name, pin_class::pins}}};

struct software {
  using backend_type = software_iommu;
  static result<backend_type> make() { return software_iommu{}; }
};
struct io_uring {
  using backend_type = io_uring_buffers;
  static result<backend_type> make() { return io_uring_buffers::open({.slots = 256}); }
};

template <class Model>
struct world {
  using container_type =
      container<typename Model::backend_type, fixed_block<64 * KiB>, inhibit_per_device>;

  ram_block low = must(ram_block::allocate("low", 256 * KiB));
  ram_block high = must(ram_block::allocate("high", 128 * KiB, memory_kind::shared));
  ram_block bar = must(ram_block::allocate("bar", 4 * KiB));
  address_space guest;
  discard_gate<> gate;
  region_id low_region = must(guest.place(region::ram(low), guest_address{0}));
  region_id hole = must(guest.place(region::mmio("hole", 4 * KiB), guest_address{64 * KiB}, 1));
  region_id small =
      must(guest.place(region::ram_device(bar, block_offset{0}, 512), guest_address{2 * MiB}));
  container_type dma{guest, gate, must(Model::make())};
  std::optional<typename container_type::attached> group;
  std::optional<typename container_type::opened> device;

  world() = default;
  world(world const&) = delete;
  world& operator=(world const&) = delete;

  void attach() { group = must(dma.attach(nics)); }
  void open() { device = must(group->open(device_name)); }

  struct seen {
    gate_counts counts;
    container_counts members;
    mapped_usage usage;
    std::uint64_t free_mappings;
    std::size_t left_out;
    bool diverged;
    std::uint32_t references;
    std::size_t sections;
    friend bool operator==(seen const&, seen const&) = default;
  };
  seen state() {
    return {gate.counts(),
            dma.membership(),
            dma.usage(),
            dma.backend().free_mappings(),
            dma.left_out().size(),
            dma.diverged(),
            low.backing().references() + high.backing().references() + bar.backing().references(),
            guest.view()->size()};
  }
};

/// Fails each allocation of `act` in turn. One that is only for the copy from which questions are
/// answered refuses nothing, and the answers are right all the same. Answers how many refused it.
template <class Model, class Prepare, class Act>
std::uint64_t sweep(Prepare prepare, Act act) {
  const auto after = [&] {
    world<Model> w;
    prepare(w);
    CHECK(act(w).has_value());
    return w.state();
  }();
  std::uint64_t refused = 0;
  for (std::uint64_t n = 1;; ++n) {
    CAPTURE(n);
    world<Model> w;
    prepare(w);
    const auto before = w.state();
    failing_allocation = n;
    const auto done = act(w);
    const bool struck = failing_allocation == 0;
    failing_allocation = 0;
    if (!struck) {
      CHECK(done.has_value());
      return refused;
    }
    if (done.has_value()) {
      CHECK(w.state() == after);
      if (w.group) static_cast<void>(w.group->detach());
      continue;
    }
    refused += 1;
    CHECK(done.error().code() == std::make_error_code(std::errc::not_enough_memory));
    CHECK_FALSE(done.error().rollback_failed());
    CHECK(w.state() == before);
    CHECK(act(w).has_value());  // it was only memory
    if (w.group) static_cast<void>(w.group->detach());
  }
}

/// `act` works whichever allocation fails, and leaves nothing mapped or held behind when all is
/// detached.
template <class Model, class Prepare, class Act>
bool never_fails(Prepare prepare, Act act) {
  for (std::uint64_t n = 1;; ++n) {
    world<Model> w;
    prepare(w);
    failing_allocation = n;
    const auto done = act(w);
    const bool struck = failing_allocation == 0;
    failing_allocation = 0;
    if (!done || w.dma.diverged()) return false;
    if (w.group) static_cast<void>(w.group->detach());
    if (w.gate.counts() != gate_counts{} || w.dma.usage() != mapped_usage{}) return false;
    if (!struck) return true;
  }
}

template <class Model>
void check_model() {
  if (auto backend = Model::make(); !backend)
    return tether_test::skip_because(backend.error().sentence());
  const auto nothing = [](world<Model>&) {};
  const auto attached = [](world<Model>& w) { w.attach(); };
  const auto opened = [](world<Model>& w) {
    w.attach();
    w.open();
  };
  CHECK(sweep<Model>(nothing, [](world<Model>& w) { return w.dma.attach(nics); }) > 5);
  CHECK(sweep<Model>(attached, [](world<Model>& w) { return w.dma.attach(disks); }) > 3);
  CHECK(sweep<Model>(attached, [](world<Model>& w) { return w.group->open(device_name); }) > 1);
  CHECK(sweep<Model>(opened, [](world<Model>& w) {
          return w.guest.place(region::ram(w.high), guest_address{1 * MiB});
        }) > 3);
  CHECK(sweep<Model>(opened, [](world<Model>& w) { return w.guest.remove(w.hole); }) > 3);
  CHECK(sweep<Model>(opened, [](world<Model>& w) {
          return w.guest.move(w.hole, guest_address{128 * KiB});
        }) > 3);
  CHECK(sweep<Model>(opened, [](world<Model>& w) {
          return w.guest.move(w.small, guest_address{4 * MiB});
        }) > 3);
  CHECK(sweep<Model>(opened, [](world<Model>& w) { return w.guest.remove(w.low_region); }) > 3);

  // What must not fail.
  CHECK(never_fails<Model>(opened, [](world<Model>& w) { return w.device->close(); }));
  CHECK(never_fails<Model>(opened, [](world<Model>& w) { return w.group->detach(); }));
  CHECK(never_fails<Model>(opened, [](world<Model>& w) { return w.dma.abandon(); }));
  // Also after the memory map has changed under it, in both directions.
  const auto rearranged = [](world<Model>& w) {
    w.attach();
    static_cast<void>(must(w.guest.place(region::ram(w.high), guest_address{1 * MiB})));
    must(w.guest.remove(w.hole));
    must(w.guest.move(w.low_region, guest_address{16 * MiB}));
    for (std::uint64_t at = 0; at < 8; ++at)
      static_cast<void>(must(w.guest.place(region::mmio("more", 4 * KiB),
                                           guest_address{16 * MiB + at * 16 * KiB}, 2)));
  };
  CHECK(never_fails<Model>(rearranged, [](world<Model>& w) { return w.group->detach(); }));
}

}  // namespace

TEST_CASE(
    "running out of memory refuses an attach, an open or a commit whole, and never a close or a "
    "detach, on a software IOMMU") {
  if (!allocations_can_fail) return cannot_fail_allocations();
  check_model<software>();
}
TEST_CASE(
    "running out of memory refuses an attach, an open or a commit whole, and never a close or a "
    "detach, on io_uring's pins") {
  if (!allocations_can_fail) return cannot_fail_allocations();
  check_model<io_uring>();
}

TEST_CASE(
    "a change that was refused for want of memory at another listener is rolled back without "
    "needing any") {
  if (!allocations_can_fail) return cannot_fail_allocations();
  // Two containers follow one guest; the second refuses. The first must go back with nothing to
  // allocate.
  for (std::uint64_t n = 1;; ++n) {
    CAPTURE(n);
    world<software> w;
    container<software_iommu> second{w.guest, w.gate, software_iommu{{.budget = 3}}};
    static_cast<void>(must(second.attach(nics)));
    w.attach();
    const auto before = w.state();
    const auto second_before = second.usage();
    failing_allocation = n;
    const auto done = w.guest.place(region::ram(w.high), guest_address{1 * MiB}, 3);
    const bool struck = failing_allocation == 0;
    failing_allocation = 0;
    const bool fits = done.has_value();
    if (!fits) {
      CHECK_FALSE(done.error().rollback_failed());
      CHECK(w.state() == before);
      CHECK(second.usage() == second_before);
    }
    CHECK_FALSE(w.dma.diverged());
    CHECK_FALSE(second.diverged());
    if (!struck) break;
  }
}

}  // namespace scenario_attach_out_of_memory
