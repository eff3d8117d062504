// SPDX-License-Identifier: BSL-1.0
// Two devices that the IOMMU cannot tell apart, because they sit behind one bridge: they share a
// group, and come and go in every order.
// tier: 1 2
// machine: -device pcie-pci-bridge,id=bridge,addr=8 -device edu,bus=bridge,addr=1 -device edu,bus=bridge,addr=2
#include <system/in_machine.hpp>

#include <sys/mman.h>

namespace system_two_devices_in_a_group {

using namespace in_machine;

namespace {

template <class Inhibition>
void in_every_order() {
  vm<Inhibition> v;
  const std::array<std::string, 2> names{edu_address(0), edu_address(1)};
  REQUIRE(group_of(names[0]).name() == group_of(names[1]).name());
  for (unsigned order = 0; order < 6; ++order) {
    INFO("order " << order);
    auto group = must(v.dma.attach(group_of(names[0])));
    for (auto const& name : names) {
      const auto held = v.gate.counts();
      const auto agreed = group.open(name, agrees_to_discards);
      REQUIRE(!agreed);
      CHECK(agreed.error().is(errc::consent_refused));
      CHECK(v.gate.counts() == held);
    }
    auto first = must(group.open(names[order % 2]));
    auto second = must(group.open(names[1 - order % 2]));
    CHECK(v.balloon.inflate(frame_numbers(0, 4)).inhibited == 4);
    if (order / 2 == 0) must(first.close());
    if (order / 2 == 1) {
      must(second.close());
      must(first.close());
    }
    // What is still open, the detach closes.
    CHECK(v.balloon.inflate(frame_numbers(0, 4)).inhibited == 4);
    must(group.detach());
    CHECK(v.gate.counts() == gate_counts{});
    CHECK(v.balloon.inflate(frame_numbers(0, 4)).discarded == 4);
  }
}

}  // namespace

TEST_CASE(
    "both devices of a group are opened and unplugged in every order, and neither may agree to "
    "discards") {
  in_every_order<inhibit_per_group>();
  in_every_order<inhibit_per_device>();
  in_every_order<inhibit_per_container>();
}

TEST_CASE("both devices do DMA into the same guest") {
  vm<> v;
  auto group = must(v.dma.attach(group_of(edu_address(0))));
  for (const std::size_t n : {0U, 1U}) {
    auto device = must(group.open(edu_address(n)));
    auto dma = v.drive(*device);
    const auto sent = pattern(n, 5, 64);
    must(dma.dma_write(io_address{n * page}, sent));
    CHECK(std::ranges::equal(v.at(n * page, 64), sent));
  }
  must(group.detach());
}

TEST_CASE(
    "a BAR that is left mapped keeps its device and its group, by name, and everything else as it "
    "was") {
  vm<> v;
  const auto address = edu_address(0);
  auto group = must(v.dma.attach(group_of(address)));
  auto device = must(group.open(address));
  const auto usage = v.dma.usage();
  {
    const auto registers = must(device->map_bar(0));
    const auto busy = group.detach();
    REQUIRE(!busy);
    CHECK(busy.error().is(errc::still_in_use));
    CHECK(busy.error().subject() == address);
  }
  // The same behind tether's back: then it is the kernel that keeps the group.
  void* const bar = ::mmap(nullptr, page, PROT_READ, MAP_SHARED, device->descriptor(), 0);
  REQUIRE(bar != MAP_FAILED);
  const auto busy = group.detach();
  REQUIRE(!busy);
  CHECK(busy.error().is(errc::still_in_use));
  CHECK(busy.error().subject() == group_of(address).name());
  CHECK(!v.dma.diverged());
  CHECK(v.dma.usage() == usage);
  CHECK(v.balloon.inflate(frame_numbers(0, 4)).inhibited == 4);
  ::munmap(bar, page);
  must(group.detach());
  CHECK(v.balloon.inflate(frame_numbers(0, 4)).discarded == 4);
}

}  // namespace system_two_devices_in_a_group
