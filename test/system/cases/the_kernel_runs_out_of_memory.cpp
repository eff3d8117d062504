// SPDX-License-Identifier: BSL-1.0
// The kernel's own failure injection: its first allocation for an operation fails, then its second,
// and so on until the operation needs no more. Each time everything is as it was before (law 11).
// tier: 2
// machine: -device edu
#include <system/in_machine.hpp>

#include <support/process_facts.hpp>

#include <cstdio>

namespace system_the_kernel_runs_out_of_memory {

using namespace in_machine;

namespace {

/// Everything that a failure could leave behind.
struct state {
  std::map<int, std::string> descriptors = tether_test::descriptors();
  std::uint64_t locked = locked_by_the_kernel();
  friend bool operator==(state const&, state const&) = default;
};

}  // namespace

TEST_CASE(
    "a mapping for which the kernel has no memory leaves nothing behind, whichever allocation it "
    "is that fails") {
  auto ram = must(ram_block::allocate("ram", 1 * MiB));
  std::memset(ram.data(), 1, ram.size());
  vfio_type1 iommu;
  auto joined = must(iommu.join(group_of(edu_address())));
  const auto budget = iommu.free_mappings();
  const extent<io_address> where{io_address{0}, io_address{ram.size() - 1}};
  unsigned failures = 0;
  for (unsigned n = 1;; ++n) {
    REQUIRE(n < 1000);
    failing_allocation out_of_memory{n};
    const auto mapped = iommu.map({where, ram.host()});
    const bool struck = out_of_memory.struck();
    failures += mapped ? 0U : 1U;
    if (mapped) must(iommu.unmap(where));  // it may go on without what it could not have
    else CHECK(struck);
    CHECK(iommu.free_mappings() == budget);
    CHECK(locked_by_the_kernel() == 0);
    if (struck) continue;
    std::printf("told    %u allocations failed, and with them %u mappings\n", n - 1, failures);
    break;
  }
  CHECK(failures != 0);
  must(iommu.leave(joined));
}

TEST_CASE(
    "an attach for which the kernel has no memory leaves everything as it was, whichever "
    "allocation it is that fails") {
  vm<> v{256 * KiB};
  std::memset(v.ram.data(), 1, v.ram.size());
  const auto group = group_of(edu_address());
  must(must(v.dma.attach(group)).detach());
  const state before;
  unsigned failures = 0;
  for (unsigned n = 1;; ++n) {
    REQUIRE(n < 1000);
    failing_allocation out_of_memory{n};
    auto attached = v.dma.attach(group);
    const bool struck = out_of_memory.struck();
    if (!attached) {
      ++failures;
      INFO("allocation " << n << ": " << attached.error().sentence());
      CHECK(struck);
      CHECK(!v.dma.diverged());
      CHECK(v.dma.usage().mappings == 0);
      CHECK(v.gate.counts() == gate_counts{});
      CHECK(std::ranges::all_of(v.at(0, v.ram.size()),
                                [](std::byte one) { return one == std::byte{1}; }));
    } else {
      must(attached->detach());
    }
    CHECK(state{} == before);
    if (struck) continue;
    std::printf("told    %u allocations failed, and with them %u attaches\n", n - 1, failures);
    break;
  }
  CHECK(failures != 0);
}

}  // namespace system_the_kernel_runs_out_of_memory
