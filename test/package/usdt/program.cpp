// SPDX-License-Identifier: BSL-1.0
// A program with probes: check.py looks for them in it.
#include <tether/tether.hpp>
#include <tether/usdt.hpp>

int main() {
  tether::address_space guest;
  tether::discard_gate<> gate;
  tether::container<tether::software_iommu, tether::usdt_tracer> dma{guest, gate, "probed"};
  auto group = dma.attach({"nics", {{"nic"}}});
  return group && group->detach() ? 0 : 1;
}
