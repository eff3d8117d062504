// SPDX-License-Identifier: BSL-1.0
#include <tether/listen/detail/section_mapper.hpp>

#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/largest_page.hpp>
#include <tether/testing/recording.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/faulty_kernel.hpp>
#include <support/must.hpp>
#include <support/process_facts.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace runtime_listen_detail_section_mapper {

using namespace tether;
using namespace tether::detail;
using tether_test::must;

namespace {

struct watching {
  using slot = observation_slot;
  std::vector<mapping> mapped_pieces;
  std::vector<extent<io_address>> unmapped_extents;
  void mapped(mapping const& piece) noexcept { mapped_pieces.push_back(piece); }
  void unmapped(extent<io_address> where) noexcept { unmapped_extents.push_back(where); }
};

section ram_at(ram_block& block, std::uint64_t first, std::uint64_t size) {
  return {.where = {guest_address{first}, guest_address{first + size - 1}},
          .memory = &block.backing(),
          .name = "ram"};
}

template <class Granularity>
struct rig {
  ram_block block = must(ram_block::allocate("ram", 256 * KiB));
  recording<software_iommu> iommu;
  section_mapper<recording<software_iommu>, Granularity, watching> mapper{iommu};
  unmonitored nobody;

  rig() { mapper.refresh_sizes(); }
  section_plan plan(std::uint64_t first, std::uint64_t size) {
    return plan_section<Granularity>(ram_at(block, first, size), mapper.sizes());
  }
};

/// Can be told that its page sizes have changed.
struct changing_iommu : software_iommu {
  using software_iommu::software_iommu;
  tether::page_sizes now{4 * KiB};
  [[nodiscard]] tether::page_sizes page_sizes() const noexcept { return now; }
};

}  // namespace

TEST_CASE("all pieces are mapped, told and counted; one unmap takes them all away") {
  rig<fixed_block<64 * KiB>> r;
  const auto plan = r.plan(0x100000, 256 * KiB);
  must(r.mapper.map(plan, r.nobody));
  CHECK(r.iommu.log().count(backend_call::map) == 4);
  CHECK(r.mapper.usage() == mapped_usage{4, 256 * KiB});
  REQUIRE(r.mapper.observer().mapped_pieces.size() == 4);
  CHECK(r.mapper.observer().mapped_pieces[3].where.last == io_address{0x13ffff});
  must(r.mapper.unmap(plan));
  CHECK(r.iommu.log().count(backend_call::unmap) == 1);
  CHECK(r.mapper.observer().unmapped_extents ==
        std::vector<extent<io_address>>{{io_address{0x100000}, io_address{0x13ffff}}});
  CHECK(r.mapper.usage() == mapped_usage{});
}

TEST_CASE(
    "a map that fails at any piece unmaps the pieces before it, in one call, and counts nothing") {
  for (std::uint64_t n = 1; n <= 4; ++n) {
    rig<fixed_block<64 * KiB>> r;
    r.iommu.log().fail_at(backend_call::map, n, error::from_errno("map", ENOMEM));
    const auto failed = r.mapper.map(r.plan(0x100000, 256 * KiB), r.nobody);
    REQUIRE_FALSE(failed);
    CHECK(failed.error().is_errno(ENOMEM));
    CHECK(failed.error().subject() == "ram");
    CHECK_FALSE(failed.error().rollback_failed());
    CHECK(r.iommu.log().count(backend_call::unmap) == (n == 1 ? 0U : 1U));
    CHECK(r.mapper.usage() == mapped_usage{});
    CHECK(r.iommu.free_mappings() == 65535);
    CHECK(r.mapper.observer().unmapped_extents.size() == (n == 1 ? 0U : 1U));
  }
}

TEST_CASE("a map whose undo fails says that it is stuck") {
  rig<fixed_block<64 * KiB>> r;
  r.iommu.log().fail_at(backend_call::map, 3, error::from_errno("map", ENOMEM));
  r.iommu.log().fail_at(backend_call::unmap, 1, error::from_errno("unmap", EIO));
  const auto failed = r.mapper.map(r.plan(0x100000, 256 * KiB), r.nobody);
  REQUIRE_FALSE(failed);
  CHECK(failed.error().is_errno(ENOMEM));
  CHECK(failed.error().rollback_failed());
}

TEST_CASE("an unmap that fails counts nothing and names the section") {
  rig<largest_page> r;
  const auto plan = r.plan(0x100000, 256 * KiB);
  must(r.mapper.map(plan, r.nobody));
  const auto before = r.mapper.usage();
  r.iommu.log().fail_at(backend_call::unmap, 1, error::from_errno("unmap", EIO));
  const auto failed = r.mapper.unmap(plan);
  REQUIRE_FALSE(failed);
  CHECK(failed.error().subject() == "ram");
  CHECK(r.mapper.usage() == before);
}

TEST_CASE("the page sizes are frozen from the first mapping until nothing is mapped") {
  ram_block block = must(ram_block::allocate("ram", 256 * KiB));
  changing_iommu iommu;
  section_mapper<changing_iommu, largest_page, no_observation> mapper{iommu};
  unmonitored nobody;
  mapper.refresh_sizes();
  const auto plan = plan_section<largest_page>(ram_at(block, 0x100000, 16 * KiB), mapper.sizes());
  must(mapper.map(plan, nobody));
  iommu.now = {64 * KiB};
  mapper.refresh_sizes();
  CHECK(mapper.sizes() == page_sizes{4 * KiB});
  must(mapper.unmap(plan));
  mapper.refresh_sizes();
  CHECK(mapper.sizes() == page_sizes{64 * KiB});
}

TEST_CASE("private memory is brought in before it is pinned for reading only, and only then") {
  auto ring = io_uring_buffers::open({.slots = 16});
  if (!ring) return tether_test::skip_because(ring.error().sentence());
  ram_block block = must(ram_block::allocate<faulty_kernel>("ram", 16 * KiB));
  section_mapper<io_uring_buffers, largest_page, no_observation> mapper{*ring};
  mapper.refresh_sizes();
  unmonitored nobody;
  // No pinning group has joined, so what is resident afterwards was populated.
  section rom = ram_at(block, 0x100000, 8 * KiB);
  rom.kind = region_kind::rom;
  const auto writable =
      plan_section<largest_page>(ram_at(block, 0x200000, 8 * KiB), mapper.sizes());
  must(mapper.map(writable, nobody));
  CHECK_FALSE(tether_test::is_resident(block.data()));
  const auto plan = plan_section<largest_page>(rom, mapper.sizes());
  must(mapper.map(plan, nobody));
  CHECK(tether_test::is_resident(block.data()));
  CHECK(tether_test::is_resident(block.data() + 4 * KiB));
  CHECK_FALSE(tether_test::is_resident(block.data() + 8 * KiB));
  must(mapper.unmap(plan));
  // If that cannot be done it is not mapped.
  const auto free_before = ring->free_mappings();
  {
    const injected_fault fault{1, EFAULT};
    const auto refused = mapper.map(plan, nobody);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().is(errc::memory_gone));
  }
  CHECK(ring->free_mappings() == free_before);
  must(mapper.unmap(writable));
}

TEST_CASE(
    "a private file's memory is brought in as the process's own before it is pinned for reading "
    "only") {
  auto ring = io_uring_buffers::open({.slots = 16});
  if (!ring) return tether_test::skip_because(ring.error().sentence());
  const auto file = static_cast<int>(linux_kernel::memfd_create("snapshot", MFD_CLOEXEC));
  REQUIRE(linux_kernel::ftruncate(file, 16 * KiB) == 0);
  auto* const lent = static_cast<std::byte*>(
      ::mmap(nullptr, 16 * KiB, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0));
  REQUIRE(lent != MAP_FAILED);
  {
    ram_block block =
        must(ram_block::borrow("rom", host_address{reinterpret_cast<std::uintptr_t>(lent)},
                               16 * KiB, memory_kind::private_file));
    section_mapper<io_uring_buffers, largest_page, no_observation> mapper{*ring};
    mapper.refresh_sizes();
    unmonitored nobody;
    // Reading alone shows the file's own pages, which the CPU leaves at its first write.
    for (std::uint64_t at = 0; at < 16 * KiB; at += 4 * KiB)
      CHECK(static_cast<std::byte volatile const*>(lent)[at] == std::byte{0});
    section rom = ram_at(block, 0x100000, 8 * KiB);
    rom.kind = region_kind::rom;
    const auto plan = plan_section<largest_page>(rom, mapper.sizes());
    CHECK(plan.fit.inside.memory == memory_kind::private_file);
    must(mapper.map(plan, nobody));
    CHECK_FALSE(tether_test::is_of_a_file(lent));
    CHECK_FALSE(tether_test::is_of_a_file(lent + 4 * KiB));
    CHECK(tether_test::is_of_a_file(lent + 8 * KiB));
    must(mapper.unmap(plan));
  }
  ::munmap(lent, 16 * KiB);
  ::close(file);
}

}  // namespace runtime_listen_detail_section_mapper
