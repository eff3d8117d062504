// SPDX-License-Identifier: BSL-1.0
// The corruption of 2018, for real: an IOMMU, a device with a DMA engine, and a balloon. First
// without tether, then with every inhibition policy and every granularity.
// machine: -device edu
#include <system/in_machine.hpp>

#include <sys/mman.h>

namespace system_hazard_and_cure {

using namespace in_machine;

namespace {

template <class Inhibition, class Granularity>
void not_one_stale_byte() {
  vm<Inhibition, Granularity> v;
  const auto address = edu_address();
  for (std::uint64_t at = 0; at < v.ram.size(); at += page)
    std::ranges::copy(pattern(at / page, 0, page), v.ram.data() + at);

  // Ballooned before the attach: harmless, because pinning brings the pages in.
  CHECK(v.balloon.inflate(frame_numbers(0, 16)).discarded == 16);
  auto group = must(v.dma.attach(group_of(address)));
  const auto agreed = group.open(address, agrees_to_discards);
  REQUIRE(!agreed);
  CHECK(agreed.error().is(errc::consent_refused));
  auto device = must(group.open(address));
  auto engine = v.drive(*device);
  const auto before = frames_behind(v.ram);
  CHECK(std::ranges::count(before, std::uint64_t{0}) == 0);

  const auto told = v.balloon.inflate(frame_numbers(100, 64));
  CHECK(told.inhibited == 64);
  CHECK(told.discarded == 0);
  for (std::uint64_t at = 0; at < v.ram.size(); at += page)
    std::ranges::copy(pattern(at / page, 1, page), v.ram.data() + at);
  CHECK(frames_behind(v.ram) == before);

  // Ballooned before, the first and the last of those that the balloon asked for, and the last of
  // all.
  for (const std::uint64_t frame : {0U, 100U, 163U, 511U}) {
    const auto sent = pattern(frame, 2, edu::most);
    const auto first_byte = v.at(frame * page, 1)[0];
    must(engine.dma_write(io_address{frame * page + 1}, sent));
    CHECK(std::ranges::equal(v.at(frame * page + 1, edu::most), sent));
    CHECK(v.at(frame * page, 1)[0] == first_byte);
    std::ranges::copy(pattern(frame, 3, page), v.ram.data() + frame * page);
    std::vector<std::byte> seen(edu::most);
    must(engine.dma_read(io_address{frame * page}, seen));
    CHECK(std::ranges::equal(seen, v.at(frame * page, edu::most)));
  }
  CHECK(frames_behind(v.ram) == before);

  // The registers are a mapping of the device, which cannot be closed as long as they are.
  const auto busy = group.detach();
  REQUIRE(!busy);
  CHECK(busy.error().is(errc::still_in_use));
  { const auto gone = std::move(engine); }
  must(group.detach());
  CHECK(v.gate.counts() == gate_counts{});
  CHECK(v.balloon.inflate(frame_numbers(100, 64)).discarded == 64);
}

template <class Inhibition>
void with_every_granularity() {
  not_one_stale_byte<Inhibition, whole_section>();
  not_one_stale_byte<Inhibition, fixed_block<64 * KiB>>();
  not_one_stale_byte<Inhibition, largest_page>();
}

}  // namespace

TEST_CASE(
    "without tether the CPU never sees what the device wrote into a page that was ballooned") {
  auto ram = must(ram_block::allocate("ram", 16 * page));
  auto mailbox = must(ram_block::allocate("mailbox", page, memory_kind::shared));
  std::memset(ram.data(), 0x11, ram.size());
  vfio_type1 iommu;
  const auto address = edu_address();
  auto group = must(iommu.join(group_of(address)));
  must(iommu.map({{io_address{0}, io_address{ram.size() - 1}}, ram.host()}));
  must(iommu.map({{io_address{mailbox_at}, io_address{mailbox_at + page - 1}},
                  mailbox.host(),
                  access::read_write,
                  memory_kind::shared}));
  auto device = must(iommu.open(group, address));
  {
    auto engine = must(engine::start(device, mailbox.data(), io_address{mailbox_at}));
    const auto before = frames_behind(ram);
    REQUIRE(::madvise(ram.data() + page, page, MADV_DONTNEED) == 0);
    std::memset(ram.data() + page, 0x22, page);
    const auto after = frames_behind(ram);
    CHECK(after[0] == before[0]);
    CHECK(after[1] != before[1]);

    const auto sent = pattern(1, 1, 64);
    must(engine.dma_write(io_address{page}, sent));
    CHECK(std::ranges::all_of(std::span{ram.data() + page, page},
                              [](std::byte one) { return one == std::byte{0x22}; }));
    must(engine.dma_write(io_address{0}, sent));
    CHECK(std::ranges::equal(std::span{ram.data(), sent.size()}, sent));
    std::array<std::byte, 64> seen{};
    must(engine.dma_read(io_address{page}, seen));
    CHECK(std::ranges::equal(seen, sent));  // it went somewhere: to the old frame
  }
  must(iommu.close(device));
  must(iommu.unmap({io_address{0}, io_address{ram.size() - 1}}));
  must(iommu.unmap({io_address{mailbox_at}, io_address{mailbox_at + page - 1}}));
  must(iommu.leave(group));
}

TEST_CASE("inhibit_per_group: not one stale byte, with any granularity") {
  with_every_granularity<inhibit_per_group>();
}
TEST_CASE("inhibit_per_device: not one stale byte, with any granularity") {
  with_every_granularity<inhibit_per_device>();
}
TEST_CASE("inhibit_per_container: not one stale byte, with any granularity") {
  with_every_granularity<inhibit_per_container>();
}

}  // namespace system_hazard_and_cure
