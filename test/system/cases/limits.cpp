// SPDX-License-Identifier: BSL-1.0
// Where a real kernel says no: locked memory, the number of mappings, the hole that the interrupts
// leave in the I/O address space; and that a thousand rounds leave nothing behind.
// tier: 1 2
// machine: -device edu -device edu
// kernel: vfio_iommu_type1.dma_entry_limit=64
#include <system/in_machine.hpp>

#include <support/pinned_memory.hpp>
#include <support/process_facts.hpp>

#include <cerrno>

namespace system_limits {

using namespace in_machine;

namespace {

/// Everything that could leak.
struct counted {
  std::map<int, std::string> descriptors = tether_test::descriptors();
  std::uint64_t locked = locked_by_the_kernel();
  std::uint64_t pinned = tether_test::pinned_by_the_kernel();
  std::uint64_t mapped = tether_test::mapped_bytes();
  friend bool operator==(counted const&, counted const&) = default;
};

}  // namespace

TEST_CASE(
    "an attach past the locked-memory limit fails, says what to raise, and leaves nothing behind") {
  vm<> v{8 * MiB};
  const auto group = group_of(edu_address());
  const counted before;
  std::uint64_t advised = 0;
  {
    const as_an_ordinary_user limited{4 * MiB};
    const auto refused = v.dma.attach(group);
    REQUIRE(!refused);
    CHECK(refused.error().is_errno(ENOMEM));
    CHECK(refused.error().sentence().find("ulimit -l") != std::string::npos);
    advised = refused.error().number() * KiB;
    CHECK(advised == 8 * MiB + page);
    CHECK(refused.error().subject() == "ram");
  }
  CHECK(v.gate.counts() == gate_counts{});
  CHECK(v.dma.usage().mappings == 0);
  CHECK(counted{} == before);
  const as_an_ordinary_user enough{advised};
  auto attached = must(v.dma.attach(group));
  CHECK(locked_by_the_kernel() == 8 * MiB + page);
  must(attached.detach());
  CHECK(locked_by_the_kernel() == before.locked);
}

TEST_CASE(
    "more mappings than the container may hold are refused before anything is mapped, with the "
    "block that fits") {
  vm<fixed_block<64 * KiB>> v{8 * MiB};  // 128 blocks, 64 allowed
  const auto group = group_of(edu_address());
  CHECK(v.dma.backend().free_mappings() == 64);
  const auto refused = v.dma.attach(group);
  REQUIRE(!refused);
  CHECK(refused.error().is(errc::over_budget));
  CHECK(refused.error().number() == 256 * KiB);  // 128 KiB would leave no room for the mailbox
  CHECK(v.gate.counts() == gate_counts{});

  vm<fixed_block<256 * KiB>> fits{8 * MiB};
  auto attached = must(fits.dma.attach(group));
  CHECK(fits.dma.backend().free_mappings() == 64 - fits.dma.usage().mappings);
  must(attached.detach());
}

TEST_CASE("the kernel's own count is exact, and everything is unmapped by one call") {
  auto ram = must(ram_block::allocate("ram", 65 * page));
  vfio_type1 iommu;
  auto joined = must(iommu.join(group_of(edu_address())));
  for (int round = 0; round < 2; ++round) {
    for (std::uint64_t i = 0; i < 64; ++i) {
      REQUIRE(iommu.free_mappings() == 64 - i);
      must(iommu.map({{io_address{2 * i * page}, io_address{2 * i * page + page - 1}},
                      ram.host() + i * page}));
    }
    const auto refused =
        iommu.map({{io_address{MiB}, io_address{MiB + page - 1}}, ram.host() + 64 * page});
    REQUIRE(!refused);
    CHECK(refused.error().is(errc::over_budget));
    must(iommu.unmap(extent<io_address>::everything()));
    CHECK(iommu.free_mappings() == 64);
    CHECK(locked_by_the_kernel() == 0);
  }
  must(iommu.leave(joined));
}

TEST_CASE(
    "what the kernel refuses a mapping for has a name, and an unmap that would cut one removes "
    "nothing") {
  auto ram = must(ram_block::allocate("ram", 16 * page));
  vfio_type1 iommu;
  auto joined = must(iommu.join(group_of(edu_address())));
  const auto at = [](std::uint64_t first, std::uint64_t size) {
    return extent<io_address>::of(io_address{first}, size).value();
  };
  must(iommu.map({at(0, 4 * page), ram.host()}));
  const auto refused = [&](mapping const& what) { return iommu.map(what).error().code(); };
  CHECK(refused({at(3 * page, 2 * page), ram.host() + 8 * page}) ==
        make_error_code(errc::overlaps));
  CHECK(refused({at(0xfee0'0000, page), ram.host()}) == make_error_code(errc::outside_aperture));
  CHECK(refused({at(std::uint64_t{1} << 60, page), ram.host()}) ==
        make_error_code(errc::outside_aperture));
  CHECK(refused({at(8 * page + 1, page), ram.host()}) == make_error_code(errc::not_aligned));
  CHECK(refused({at(8 * page, page), ram.host(), access::none}) ==
        make_error_code(errc::access_denied));
  CHECK(refused({at(8 * page, page), host_address{64 * KiB}}) ==
        make_error_code(errc::memory_gone));
  CHECK(iommu.unmap(at(0, 2 * page)).error().is_errno(EINVAL));
  CHECK(iommu.unmap(at(page, 3 * page)).error().is_errno(EINVAL));
  CHECK(iommu.free_mappings() == 63);
  // a hole: the kernel says 0 bytes
  CHECK(iommu.unmap(at(64 * page, page)).error().is(errc::byte_count_mismatch));
  must(iommu.unmap(at(0, 4 * page)));
  must(iommu.leave(joined));
}

TEST_CASE(
    "RAM across the hole that the interrupts leave is refused up front, at attach and at plug") {
  vm<> v;
  const auto group = group_of(edu_address());
  auto high = must(ram_block::allocate("high", 1 * MiB));
  const guest_address across{0xfee0'0000 - 64 * KiB};
  const auto id = must(v.guest.place(region::ram(high), across));
  const auto refused = v.dma.attach(group);
  REQUIRE(!refused);
  CHECK(refused.error().is(errc::outside_aperture));
  CHECK(refused.error().subject() == "high");
  CHECK(v.gate.counts() == gate_counts{});
  must(v.guest.remove(id));

  auto attached = must(v.dma.attach(group));
  const auto usable = v.dma.usable_iova();
  REQUIRE(usable.size() >= 2);
  CHECK(usable[0].last.value < 0xfee0'0000);
  CHECK(usable[1].first.value > 0xfee0'0000);
  const auto before = v.dma.usage();
  const auto plugged = v.guest.place(region::ram(high), across);
  REQUIRE(!plugged);
  CHECK(plugged.error().is(errc::outside_aperture));
  CHECK(v.dma.usage() == before);
  const auto fits = must(v.guest.place(region::ram(high), guest_address{usable[1].first.value}));
  must(v.guest.remove(fits));
  must(attached.detach());
}

TEST_CASE("two containers pin the same guest, count it twice, and the balloon waits for both") {
  vm<> v;
  vm<>::container_type second{v.guest, v.gate};
  const counted before;
  REQUIRE(group_of(edu_address(0)).name() != group_of(edu_address(1)).name());
  auto one = must(v.dma.attach(group_of(edu_address(0))));
  auto other = must(second.attach(group_of(edu_address(1))));
  CHECK(locked_by_the_kernel() == before.locked + 2 * (2 * MiB + page));
  must(one.detach());
  CHECK(v.balloon.inflate(frame_numbers(0, 4)).inhibited == 4);
  must(other.detach());
  CHECK(v.balloon.inflate(frame_numbers(0, 4)).discarded == 4);
  // Both groups in one container: pinned once.
  one = must(v.dma.attach(group_of(edu_address(0))));
  other = must(v.dma.attach(group_of(edu_address(1))));
  CHECK(locked_by_the_kernel() == before.locked + 2 * MiB + page);
  const auto taken = second.attach(group_of(edu_address(0)));
  REQUIRE(!taken);
  CHECK(taken.error().is_errno(EBUSY));
  must(one.detach());
  CHECK(v.balloon.inflate(frame_numbers(0, 4)).inhibited == 4);
  must(other.detach());
  CHECK(counted{}.descriptors == before.descriptors);
  CHECK(locked_by_the_kernel() == before.locked);
}

TEST_CASE(
    "1,000 rounds of attach, open and detach leak no descriptor, no locked memory and no mapping") {
  vm<> v{256 * KiB};
  const auto address = edu_address();
  const auto group = group_of(address);
  std::optional<counted> before;
  for (int round = 0; round < 1000; ++round) {
    auto attached = must(v.dma.attach(group));
    if (round % 10 == 0) {
      auto device = must(attached.open(address));
      const auto registers = must(device->map_bar(0));
    }
    must(attached.detach());
    if (round == 10) before.emplace();  // the allocator has its pages by now
  }
  const counted after;
  CHECK(after.descriptors == before->descriptors);
  CHECK(after.locked == before->locked);
  CHECK(after.pinned == before->pinned);
  CHECK(after.mapped == before->mapped);
}

}  // namespace system_limits
