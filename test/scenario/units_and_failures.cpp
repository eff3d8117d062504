// SPDX-License-Identifier: BSL-1.0
// What a failure may leave behind where containers follow units of divided memory. Above all: a
// unit that a device may still reach is never discarded, however that came about.
#include <tether/backend/software_iommu.hpp>
#include <tether/granule/edges.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/listen/dma_listener.hpp>
#include <tether/listen/observation.hpp>
#include <tether/testing/recording.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/ram_block.hpp>
#include <tether/topology/unit_source.hpp>

#include <support/divided_ram.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <sys/mman.h>
#include <vector>

namespace scenario_units_and_failures {

using namespace tether;
using tether_test::must;

namespace {

constexpr std::uint64_t unit = 128 * KiB;  // two blocks
constexpr std::uint64_t units = 3;
constexpr guest_address ram_at{16 * MiB};
constexpr guest_address other_at{32 * MiB};

const error refused = error::from_errno("ioctl", ENOSPC);
const error stuck = refused.with_failed_rollback();

struct container_by_hand {
  using listener_type = dma_listener<recording<software_iommu>, fixed_block<64 * KiB>, trim_edges,
                                     no_observation, std::mutex>;
  std::mutex mutex;
  journal book;
  recording<software_iommu> iommu{book};
  std::optional<listener_type> listener{std::in_place, iommu, mutex};

  result<void> change(std::vector<section> const& removals, std::vector<section> const& additions,
                      commit_kind kind = commit_kind::refusable) {
    listener->begin(kind);
    for (auto const& one : removals) listener->remove(one);
    for (auto const& one : additions) listener->add(one);
    return listener->commit();
  }
  /// Whether devices reach the first byte of the unit. It is read, and so brought in.
  bool reaches(std::uint64_t which) {
    auto group = must(iommu.watched().join({"probe", {{"probe", pin_class::pins}}}));
    auto device = must(iommu.watched().open(group, "probe"));
    std::vector<std::byte> one(1);
    const bool there = device.dma_read(io_address{ram_at.value + which * unit}, one).has_value();
    must(iommu.watched().close(device));
    must(iommu.watched().leave(group));
    return there;
  }
};

struct divided_memory : tether_test::divided_ram {
  ram_block other = must(ram_block::allocate("other", unit));
  const section all{
      .where = {ram_at, ram_at + (units * unit - 1)}, .memory = &ram.backing(), .name = "ram"};
  const section more{
      .where = {other_at, other_at + (unit - 1)}, .memory = &other.backing(), .name = "other"};

  divided_memory() : divided_ram{units, unit} { std::memset(ram.data(), 0xaa, ram.size()); }
};

}  // namespace

TEST_CASE("a section whose mapping fails, and cannot be undone, is followed: it is not discarded") {
  divided_memory vm;
  container_by_hand a;
  // the second unit fails at its first block, and the first one cannot be unmapped again
  a.book.fail_at(backend_call::map, 3, refused);
  a.book.fail_at(backend_call::unmap, 1, refused);
  const auto failed = a.change({}, {vm.all});
  REQUIRE_FALSE(failed);
  CHECK(failed.error().rollback_failed());
  CHECK(a.listener->diverged());
  REQUIRE(a.reaches(0));
  const auto gone = vm.discard(0);
  REQUIRE_FALSE(gone);
  CHECK(gone.error().is(errc::diverged));
  CHECK(vm.resident(0));
  CHECK(vm.discard(1).has_value());  // nobody reaches that
  // once it has been abandoned it is gone, too
  must(a.iommu.watched().abandon());
  a.listener->reset();
  CHECK(a.listener->usage() == mapped_usage{});
  CHECK(vm.discard(0).has_value());
}

TEST_CASE("a section that a refused change had mapped, and cannot unmap, is followed") {
  divided_memory vm;
  container_by_hand a;
  a.book.fail_at(backend_call::map, 2 * units + 1, refused);  // the other one
  a.book.fail_at(backend_call::unmap, 1, refused);
  REQUIRE_FALSE(a.change({}, {vm.all, vm.more}));
  CHECK(a.listener->diverged());
  REQUIRE(a.reaches(1));
  CHECK_FALSE(vm.discard(1));
  CHECK(vm.resident(1));
}

TEST_CASE("a unit of which a part got stuck is mapped, as far as anybody knows") {
  divided_memory vm;
  container_by_hand a;
  REQUIRE(a.change({}, {vm.all}));
  REQUIRE(vm.discard(0));
  // its second block is refused, and its first one cannot be unmapped again
  a.book.fail_at(backend_call::map, 2, refused);
  a.book.fail_at(backend_call::unmap, 1, refused);
  const auto failed = vm.populate(0);
  REQUIRE_FALSE(failed);
  CHECK(failed.error().rollback_failed());
  CHECK(vm.resident(0));  // it was not discarded again under the device
  CHECK(a.reaches(0));
  CHECK_FALSE(vm.populated(0));
  // the guest is not told that it is back: nobody knows whether all of it is mapped
  CHECK_FALSE(vm.populate(0));
  CHECK(vm.resident(0));
  CHECK(a.reaches(0));
}

TEST_CASE("what was brought in stays where a container could not unmap it again") {
  divided_memory vm;
  std::array<container_by_hand, 2> in_order{};  // of their addresses, as they are told
  for (auto& one : in_order) REQUIRE(one.change({}, {vm.all}));
  REQUIRE(vm.discard(0));
  in_order[1].book.fail_at(backend_call::map, 1, refused);
  in_order[0].book.fail_at(backend_call::unmap, 1, refused);
  const auto failed = vm.populate(0);
  REQUIRE_FALSE(failed);
  CHECK(failed.error().rollback_failed());
  CHECK(vm.resident(0));
  CHECK(in_order[0].reaches(0));
  CHECK(in_order[0].listener->diverged());
  CHECK_FALSE(in_order[1].listener->diverged());
}

TEST_CASE("a container that goes without a unit is not asked for it when a discard is undone") {
  divided_memory vm;
  container_by_hand a;
  REQUIRE(a.change({}, {vm.all}));
  REQUIRE(vm.discard(0));
  a.book.fail_at(backend_call::map, 1, refused);
  REQUIRE_FALSE(vm.source->populate_or_fence(0));
  REQUIRE(vm.populated(0));
  REQUIRE_FALSE(a.reaches(0));
  // the memory cannot be discarded; the container could still not map it
  a.book.fail_at(backend_call::map, 1, refused);
  const auto forbids = must(vm.gate.hold(hold_kind::any, "migration"));
  const auto failed = vm.discard(0);
  REQUIRE_FALSE(failed);
  CHECK_FALSE(failed.error().rollback_failed());
  CHECK_FALSE(a.listener->diverged());
  // nor when unmapping its section is undone
  a.book.clear_faults();
  a.book.fail_at(backend_call::map, 1, refused);
  a.book.fail_at(backend_call::unmap, 1, refused);
  const auto stays = a.change({vm.all}, {});
  REQUIRE_FALSE(stays);
  CHECK_FALSE(a.listener->diverged());
  a.book.clear_faults();
  CHECK(a.change({vm.all}, {}).has_value());
  CHECK(a.listener->usage() == mapped_usage{});
}

TEST_CASE("memory that a container keeps for ever is never discarded, also after its end") {
  divided_memory vm;
  container_by_hand a;
  REQUIRE(a.change({}, {vm.all}));
  REQUIRE(vm.discard(2));
  a.book.fail_at(backend_call::unmap, 1, stuck);
  REQUIRE_FALSE(vm.discard(0));
  CHECK(a.listener->diverged());
  a.listener->keep_memory_for_ever();
  a.listener.reset();
  const auto gone = vm.discard(0);
  REQUIRE_FALSE(gone);
  CHECK(gone.error().is(errc::diverged));
  CHECK(vm.resident(0));
  REQUIRE_FALSE(vm.discard(1));
  CHECK(vm.populate(2).has_value());  // that one was not mapped
  CHECK(vm.discard(2).has_value());
}

}  // namespace scenario_units_and_failures
