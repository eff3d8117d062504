// SPDX-License-Identifier: BSL-1.0
// A container with an inhibition policy and a granularity of the user's own: nothing is registered
// or derived from, they are merely named. Answers 0 if it behaves as its policies say.
#include "custom_policy.hpp"

#include <tether/tether.hpp>

#include <array>
#include <cstdint>
#include <cstdio>
#include <utility>

namespace {

using container = tether::container<tether::io_uring_buffers, custom::inhibit_and_count,
                                    custom::one_for_each_module<3 * tether::MiB>>;

/// The holders of the gate, as an operator would list them. Answers how many holds there are.
template <class Threading>
std::uint32_t list(char const* when, tether::discard_gate<Threading> const& gate) {
  std::uint32_t all = 0;
  std::printf("%s:\n", when);
  gate.for_each_holder([&](tether::holder_info const& one) {
    std::printf("  '%s' holds %u\n", one.name.data(), one.count);
    all += one.count;
  });
  if (all == 0) std::puts("  nobody holds the gate");
  return all;
}

int fail(tether::error const& why) {
  std::puts(why.sentence().c_str());
  return 1;
}

}  // namespace

int main() {
  auto ram = tether::ram_block::allocate("ram", 5 * tether::MiB);
  if (!ram) return fail(ram.error());
  tether::address_space guest;
  if (auto placed = guest.place(tether::region::ram(*ram), tether::guest_address{0}); !placed)
    return fail(placed.error());
  tether::discard_gate<> gate;
  tether::balloon balloon{guest, gate};
  auto iommu = tether::io_uring_buffers::open();
  if (!iommu) {
    std::printf("skipped: %s\n", iommu.error().sentence().c_str());
    return 77;  // this kernel or sandbox forbids io_uring
  }
  container dma{guest, gate, std::move(*iommu)};

  const tether::endpoint_group nics{
      "nics", {{"eth0", tether::pin_class::pins}, {"eth1", tether::pin_class::pins}}};
  auto group = dma.attach(nics);
  if (!group) return fail(group.error());
  bool right = list("attached", gate) == 1;
  auto eth0 = group->open("eth0");
  auto eth1 = group->open("eth1");
  if (!eth0) return fail(eth0.error());
  if (!eth1) return fail(eth1.error());
  right = list("two devices open", gate) == 3 && right;

  std::printf("5 MiB in modules of 3 MiB are %d mappings\n",
              static_cast<int>(dma.usage().mappings));
  right = dma.usage().mappings == 2 && right;

  const std::array<std::uint32_t, 1> frame{7};
  right = balloon.inflate(frame).inhibited == 1 && right;
  if (auto gone = group->detach(); !gone) return fail(gone.error());
  right = list("detached", gate) == 0 && right;
  right = balloon.inflate(frame).discarded == 1 && right;
  return right ? 0 : 1;
}
