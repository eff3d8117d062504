// SPDX-License-Identifier: BSL-1.0
// DMA both ways, to the first and to the last byte of what is mapped and not one further, with
// every granularity.
// machine: -device edu
#include <system/in_machine.hpp>

#include <chrono>
#include <cstdio>
#include <thread>

namespace system_dma_reaches_exactly_what_is_mapped {

using namespace in_machine;

namespace {

constexpr std::uint64_t mapped_at = 1 * MiB;
constexpr std::uint64_t mapped_bytes = 256 * KiB;
constexpr std::uint64_t margin = 64 * KiB;  // of the same block, on either side, and not mapped

/// Waits for the kernel to have logged a fault at `address`, behind what it had logged before: its
/// interrupt comes when it comes. It logs a few and then none for five seconds, so not every fault
/// can be asked for.
bool fault_is_logged(std::uint64_t address, std::size_t before) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "fault addr 0x%llx",
                static_cast<unsigned long long>(address));
  for (int attempt = 0; attempt < 500; ++attempt) {
    if (kernel_log().find(text.data(), before) != std::string::npos) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
  }
  return false;
}

template <class Granularity>
void first_byte_to_last() {
  auto block = must(ram_block::allocate("ram", mapped_bytes + 2 * margin));
  vm<inhibit_per_group, Granularity> v;
  must(v.guest.remove(v.ram_region));
  const auto where = must(v.guest.place(region::ram(block, block_offset{margin}, mapped_bytes),
                                        guest_address{mapped_at}));
  for (std::uint64_t at = 0; at < block.size(); at += page)
    std::ranges::copy(pattern(at, 1, page), block.data() + at);
  std::vector<std::byte> expected{block.data(), block.data() + block.size()};
  const auto memory_is_as_expected = [&] {
    return std::ranges::equal(expected, std::span{block.data(), block.size()});
  };

  const auto address = edu_address();
  auto group = must(v.dma.attach(group_of(address)));
  auto device = must(group.open(address));
  std::optional<engine> dma{v.drive(*device)};

  // The first and the last byte of the mapping, and the last and first byte on either side of a 64
  // KiB boundary in it.
  for (const std::uint64_t offset : {std::uint64_t{0}, mapped_bytes - 1, 64 * KiB - 1, 64 * KiB}) {
    const std::array<std::byte, 1> one{std::byte{0xe0} ^ expected[margin + offset]};
    must(dma->dma_write(io_address{mapped_at + offset}, one));
    expected[margin + offset] = one[0];
    CHECK(memory_is_as_expected());
    std::array<std::byte, 1> seen{};
    must(dma->dma_read(io_address{mapped_at + offset}, seen));
    CHECK(seen == one);
  }
  // Many bytes across that boundary.
  const auto many = pattern(77, 2, edu::most);
  must(dma->dma_write(io_address{mapped_at + 64 * KiB - 2000}, many));
  std::ranges::copy(many, expected.begin() + static_cast<std::ptrdiff_t>(margin + 64 * KiB - 2000));
  CHECK(memory_is_as_expected());

  // One byte further, on either side: the IOMMU refuses, and nothing changes.
  for (const std::uint64_t beyond : {mapped_at - 1, mapped_at + mapped_bytes}) {
    dma->store(io_address{beyond}, 1);
    CHECK(memory_is_as_expected());
  }
  // A store that reaches past the end changes nothing behind it.
  dma->store(io_address{mapped_at + mapped_bytes - 100}, 200);
  CHECK(std::ranges::equal(std::span{block.data() + margin + mapped_bytes, margin},
                           std::span{expected}.last(margin)));
  std::copy_n(block.data() + margin + mapped_bytes - 100, 100,
              expected.end() - static_cast<std::ptrdiff_t>(margin + 100));

  // Taken away, the same addresses reach nothing any more.
  must(v.guest.remove(where));
  dma->store(io_address{mapped_at}, 64);
  CHECK(memory_is_as_expected());
  dma.reset();
  must(group.detach());
}

}  // namespace

TEST_CASE("a DMA to what is not mapped is refused by the IOMMU: the kernel logs the fault") {
  vm<> v;
  auto group = must(v.dma.attach(group_of(edu_address())));
  auto device = must(group.open(edu_address()));
  {
    auto dma = v.drive(*device);
    const auto logged = kernel_log().size();
    dma.store(io_address{64 * MiB}, 1);
    CHECK(fault_is_logged(64 * MiB, logged));
    dma.load(io_address{65 * MiB}, 1);
    CHECK(fault_is_logged(65 * MiB, logged));
  }
  must(group.detach());
}
TEST_CASE("whole_section: DMA reaches the first and the last byte, and nothing beyond") {
  first_byte_to_last<whole_section>();
}
TEST_CASE("fixed_block: DMA reaches the first and the last byte, and nothing beyond") {
  first_byte_to_last<fixed_block<64 * KiB>>();
}
TEST_CASE("largest_page: DMA reaches the first and the last byte, and nothing beyond") {
  first_byte_to_last<largest_page>();
}

}  // namespace system_dma_reaches_exactly_what_is_mapped
