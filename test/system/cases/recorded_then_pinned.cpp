// SPDX-License-Identifier: BSL-1.0
// Law 15, when the mapping is older than the pins. With only a mediated group in the container a
// mapping is recorded and nothing is pinned; its device agreed, so the balloon may take the pages
// away again. Then a real device's group joins, and Linux 6.1 pins the shared zero page behind
// every read-only mapping whose page is missing; 6.12 does not.
// tier: 1 2
// machine: -device edu
// modules: mdev
#include <system/aliased.hpp>

#include <cstdio>
#include <sys/mman.h>

namespace system_recorded_then_pinned {

using namespace in_machine;

namespace {

std::vector<std::uint32_t> all_frames() { return frame_numbers(ram_at / page, aliased_pages); }

template <class... Policies>
void discarded_and_joined() {
  mediated_device serial;
  aliased<Policies...> v;
  auto emulated = must(v.dma.attach(serial.group()));
  static_cast<void>(must(emulated.open(serial.name(), agrees_to_discards)));
  // the second time the mappings have been pinned before
  for (unsigned round = 0; round < 2; ++round) {
    v.fill(std::byte{0x11});
    CHECK(v.balloon.inflate(all_frames()).discarded == aliased_pages);
    auto real = must(v.dma.attach(group_of(edu_address())));
    CHECK(v.balloon.inflate(all_frames()).inhibited == aliased_pages);
    v.device_and_cpu_agree(real, round);
    must(real.detach());
  }
  must(emulated.detach());
  CHECK(v.gate.counts() == gate_counts{});
}

/// Silence is no consent: its driver may pin at any time, so nothing is discarded from its group's
/// attach on.
template <class... Policies>
void declined_and_joined() {
  mediated_device serial;
  aliased<Policies...> v;
  v.fill(std::byte{0x11});
  CHECK(v.balloon.inflate(all_frames()).discarded == aliased_pages);
  auto emulated = must(v.dma.attach(serial.group()));
  auto device = must(emulated.open(serial.name()));
  CHECK(v.balloon.inflate(all_frames()).inhibited == aliased_pages);
  auto real = must(v.dma.attach(group_of(edu_address())));
  v.device_and_cpu_agree(real, 7);
  must(real.detach());
  must(device.close());
  must(emulated.detach());
  CHECK(v.gate.counts() == gate_counts{});
}

}  // namespace

TEST_CASE(
    "without tether it depends on the kernel what a join pins behind a read-only mapping whose "
    "pages are missing") {
  mediated_device serial;
  aliased_by_hand v;
  auto emulated = must(v.iommu.join(serial.group()));
  v.map();
  must(v.ram.populate({block_offset{0}, block_offset{v.ram.size() - 1}}));
  REQUIRE(::madvise(v.ram.data(), v.ram.size(), MADV_DONTNEED) == 0);
  auto real = must(v.iommu.join(group_of(edu_address())));
  const auto different = v.stale_in(real);
  std::printf("figures  %llu of %llu bytes are stale without tether\n",
              static_cast<unsigned long long>(different),
              static_cast<unsigned long long>(compared));
  CHECK(different == (kernel_is("6.1") ? compared : 0));
  must(v.iommu.leave(real));
  must(v.iommu.leave(emulated));
}

TEST_CASE(
    "inhibit_per_group: what was discarded before the join is coherent after it, read-only "
    "mappings too") {
  discarded_and_joined<inhibit_per_group>();
}
TEST_CASE(
    "inhibit_per_device: what was discarded before the join is coherent after it, read-only "
    "mappings too") {
  discarded_and_joined<inhibit_per_device>();
}
TEST_CASE(
    "inhibit_per_container: what was discarded before the join is coherent after it, read-only "
    "mappings too") {
  discarded_and_joined<inhibit_per_container>();
}
TEST_CASE("the same where memory is mapped in blocks") {
  discarded_and_joined<inhibit_per_group, fixed_block<64 * KiB>>();
}
TEST_CASE(
    "a mediated device that does not agree: what was discarded before its group came is coherent, "
    "and stays so") {
  declined_and_joined<inhibit_per_group>();
  declined_and_joined<inhibit_per_device>();
  declined_and_joined<inhibit_per_container>();
}

}  // namespace system_recorded_then_pinned
