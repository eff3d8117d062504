// SPDX-License-Identifier: BSL-1.0
// What the printers of examples/gdb are shown: the test stops in `stop_here`, and prints its arguments.
#include <tether/core/error.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>

#include <cstdint>

using namespace tether;

[[gnu::noinline]] void stop_here(guest_address at, extent<io_address> where, label name,
                                 error const& why, discard_gate<> const& gate,
                                 flat_view const& view, section const& one) {
  asm volatile(""
               :
               : "r"(&at), "r"(&where), "r"(&name), "r"(&why), "r"(&gate), "r"(&view), "r"(&one)
               : "memory");
}

int main() {
  address_space guest;
  if (!guest.place(region::mmio("uart", 16), guest_address{0x1000})) return 1;
  if (!guest.place(region::mmio("rtc", 16), guest_address{0x2000})) return 1;
  discard_gate<> gate;
  const auto nic = gate.hold(hold_kind::any, "nic");
  const auto pause = gate.suspend("snapshot");
  const extent<io_address> where{io_address{0x1000}, io_address{0x1fff}};
  const error why = error{"map", errc::over_budget}.at(where).of("it's").advise(
      "use {} byte{|s}", 1);
  const auto view = guest.view();
  stop_here(guest_address{0xfee00000}, where, label{"dimm"}, why, gate, *view, *view->begin());
}
