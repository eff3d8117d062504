// SPDX-License-Identifier: BSL-1.0
// Law 15, when the mapping is older than the pins. With only a mediated group in the container a mapping is recorded and nothing is
// pinned; its device agreed, so the balloon may take the pages away again. Then a real device's group joins, and Linux 6.1 pins the
// shared zero page behind every read-only mapping whose page is missing; 6.12 does not. The hold is there, and no audit sees it:
//
//     guest    0 [ alias: read-only ]   ...   16 MiB [ ram: read-write ]      one memory; the join pins in this order
//     device     zero page                    frame 977                       the CPU has 977
// tier: 1 2
// machine: -device edu
// modules: mdev
#include <system/in_machine.hpp>

#include <cstdio>
#include <sys/mman.h>

using namespace in_machine;

namespace {

constexpr std::uint64_t alias_at = 0;
constexpr std::uint64_t ram_at = 16 * MiB;
constexpr std::uint32_t pages = 64;
constexpr std::uint64_t compared = 64;

/// Bytes that the device reads at `at` and that are not what the CPU has at `host`.
std::uint64_t stale(engine& running, std::uint64_t at, std::byte const* host) {
  std::array<std::byte, compared> seen{};
  seen.fill(std::byte{0x77});
  must(running.dma_read(io_address{at}, seen));
  std::uint64_t different = 0;
  for (std::uint64_t i = 0; i < compared; ++i) different += seen[i] != host[i] ? 1U : 0U;
  return different;
}

/// The guest of the other cases with its RAM moved up, and read-only once more below.
template <class... Policies>
struct aliased : vm<Policies..., audited> {
  aliased() : vm<Policies..., audited>{pages * page} {
    must(this->guest.remove(this->ram_region));
    this->ram_region = must(this->guest.place(region::ram(this->ram), guest_address{ram_at}));
    alias = must(this->guest.place(region::ram(this->ram).named("alias").read_only(), guest_address{alias_at}));
  }

  /// The device of a group that has joined reads what the CPU writes now, by both ways to it.
  template <class Group>
  void device_and_cpu_agree(Group& group, unsigned turn) {
    auto device = must(group.open(edu_address()));
    auto running = this->drive(*device);
    for (std::uint64_t at = 0; at < this->ram.size(); at += page) std::ranges::copy(pattern(at / page, turn, page), this->ram.data() + at);
    for (const std::uint64_t offset : {std::uint64_t{0}, this->ram.size() - compared}) {
      CHECK(stale(running, alias_at + offset, this->ram.data() + offset) == 0);
      CHECK(stale(running, ram_at + offset, this->ram.data() + offset) == 0);
    }
    const auto report = must(audit(this->dma));
    CHECK(report.clean());
    CHECK(report.by_frame_number);
    CHECK(report.compared == 2 * this->ram.size() + this->mailbox.size());
  }

  region_id alias{};
};

template <class... Policies>
void discarded_and_joined() {
  mediated_device serial;
  aliased<Policies...> v;
  auto emulated = must(v.dma.attach(serial.group()));
  static_cast<void>(must(emulated.open(serial.name(), agrees_to_discards)));
  for (unsigned round = 0; round < 2; ++round) {  // the second time the mappings have been pinned before
    std::ranges::fill(std::span{v.ram.data(), v.ram.size()}, std::byte{0x11});
    CHECK(v.balloon.inflate(frame_numbers(ram_at / page, pages)).discarded == pages);
    auto real = must(v.dma.attach(group_of(edu_address())));
    CHECK(v.balloon.inflate(frame_numbers(ram_at / page, pages)).inhibited == pages);
    v.device_and_cpu_agree(real, round);
    must(real.detach());
  }
  must(emulated.detach());
  CHECK(v.gate.counts() == gate_counts{});
}

/// Silence is no consent: its driver may pin at any time, so nothing is discarded from its group's attach on.
template <class... Policies>
void declined_and_joined() {
  mediated_device serial;
  aliased<Policies...> v;
  std::ranges::fill(std::span{v.ram.data(), v.ram.size()}, std::byte{0x11});
  CHECK(v.balloon.inflate(frame_numbers(ram_at / page, pages)).discarded == pages);
  auto emulated = must(v.dma.attach(serial.group()));
  auto device = must(emulated.open(serial.name()));
  CHECK(v.balloon.inflate(frame_numbers(ram_at / page, pages)).inhibited == pages);
  auto real = must(v.dma.attach(group_of(edu_address())));
  v.device_and_cpu_agree(real, 7);
  must(real.detach());
  must(device.close());
  must(emulated.detach());
  CHECK(v.gate.counts() == gate_counts{});
}

}  // namespace

TEST_CASE("without tether it depends on the kernel what a join pins behind a read-only mapping whose pages are missing") {
  auto ram = must(ram_block::allocate("ram", pages * page));
  auto mailbox = must(ram_block::allocate("mailbox", page, memory_kind::shared));
  mediated_device serial;
  vfio_type1 iommu;
  const auto address = edu_address();
  auto emulated = must(iommu.join(serial.group()));
  must(iommu.map({{io_address{alias_at}, io_address{alias_at + ram.size() - 1}}, ram.host(), access::read}));
  must(iommu.map({{io_address{ram_at}, io_address{ram_at + ram.size() - 1}}, ram.host()}));
  must(iommu.map({{io_address{mailbox_at}, io_address{mailbox_at + page - 1}}, mailbox.host(), access::read_write, memory_kind::shared}));
  must(ram.populate({block_offset{0}, block_offset{ram.size() - 1}}));
  REQUIRE(::madvise(ram.data(), ram.size(), MADV_DONTNEED) == 0);
  auto real = must(iommu.join(group_of(address)));
  auto device = must(iommu.open(real, address));
  {
    auto dma = must(engine::start(device, mailbox.data(), io_address{mailbox_at}));
    std::ranges::fill(std::span{ram.data(), ram.size()}, std::byte{0xaa});
    const auto different = stale(dma, alias_at, ram.data());
    std::printf("figures  %llu of %llu bytes are stale without tether\n", static_cast<unsigned long long>(different),
                static_cast<unsigned long long>(compared));
    CHECK(different == (kernel_is("6.1") ? compared : 0));
    CHECK(stale(dma, ram_at, ram.data()) == 0);
  }
  must(iommu.close(device));
  must(iommu.leave(real));
  must(iommu.leave(emulated));
}

TEST_CASE("inhibit_per_group: what was discarded before the join is coherent after it, read-only mappings too") {
  discarded_and_joined<inhibit_per_group>();
}
TEST_CASE("inhibit_per_device: what was discarded before the join is coherent after it, read-only mappings too") {
  discarded_and_joined<inhibit_per_device>();
}
TEST_CASE("inhibit_per_container: what was discarded before the join is coherent after it, read-only mappings too") {
  discarded_and_joined<inhibit_per_container>();
}
TEST_CASE("the same where memory is mapped in blocks") { discarded_and_joined<inhibit_per_group, fixed_block<64 * KiB>>(); }
TEST_CASE("a mediated device that does not agree: what was discarded before its group came is coherent, and stays so") {
  declined_and_joined<inhibit_per_group>();
  declined_and_joined<inhibit_per_device>();
  declined_and_joined<inhibit_per_container>();
}
