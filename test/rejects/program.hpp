// SPDX-License-Identifier: BSL-1.0
// What a program does with its container, `passthrough`, which the file that includes this has
// declared: if that is refused, nothing here may be refused as well. Included once for each
// `passthrough`, so it has no guard.

#include <tether/attach/container.hpp>

#include <cstdio>
#include <utility>

void drive(tether::address_space& guest, tether::discard_gate<>& gate,
           passthrough::backend_type&& iommu, passthrough::source_type const& nics);
void drive(tether::address_space& guest, tether::discard_gate<>& gate,
           passthrough::backend_type&& iommu, passthrough::source_type const& nics) {
  passthrough dma{guest, gate, std::move(iommu)};
  auto group = dma.attach(nics);
  if (!group) {
    std::puts(group.error().sentence().c_str());
    return;
  }
  passthrough::attached kept = *group;
  auto nic = kept.open("eth0", tether::consent::given);
  if (nic) {
    static_cast<void>(nic->get());
    if (auto leased = nic->lease()) static_cast<void>(*leased);
    static_cast<void>(nic->close());
  }
  std::printf("%u of %zu\n", dma.membership().members, dma.usable_iova().size());
  static_cast<void>(dma.observer());
  static_cast<void>(dma.backend());
  static_cast<void>(dma.tracer());
  static_cast<void>(dma.status().diverged);
  static_cast<void>(dma.all_attached());
  static_cast<void>(kept.name());
  static_cast<void>(kept.request_unplug());
  static_cast<void>(kept.cancel_unplug());
  static_cast<void>(kept.detach());
  if (dma.diverged()) static_cast<void>(dma.abandon());
}
