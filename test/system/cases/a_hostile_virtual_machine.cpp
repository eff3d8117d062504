// SPDX-License-Identifier: BSL-1.0
// A virtual machine (examples/vmm) whose guest drives the rings of its devices by hand, against
// every rule, beside another that does not.
// tier: 1 2
// machine: -m 1024 -device edu -device edu
// modules: kvm
// guest: yes
// limit: 1800
#include <system/guest_machine.hpp>

#include <cstdint>
#include <string>

namespace system_a_hostile_virtual_machine {

using namespace in_machine;

TEST_CASE("a guest that drives the rings against every rule hurts nobody, and not its neighbour") {
  const auto unpinned = pinned_now();
  guest_machine neighbour{
      {"--memory", "128M", "--blocks", "2M", "--device", edu_address(0)}, true, "neighbour"};
  CHECK(neighbour.tell("balloon 16M") == "");
  guest_machine vm{
      {"--memory", "128M", "--most-memory", "256M", "--blocks", "2M", "--device", edu_address(1)}};
  const auto said = vm.ask("attack", 300);
  CAPTURE(said);
  CAPTURE(vm.console());
  CHECK(said.ends_with(" steps, 0 wrong"));
  CHECK(number_after(said, "") > 90);
  CHECK(vm.tell("status").find("broke the protocol of: balloon") != std::string::npos);
  // nothing was plugged, and what it inflated were its own frames
  CHECK(vm.status("memory ") == bytes(128 * MiB));
  CHECK(vm.status("discarded in blocks ") == bytes(128 * MiB));
  CHECK(vm.status("mapped ") == bytes(128 * MiB));
  CHECK(vm.status("blocks gone ") > 0);
  CHECK(vm.status("brought back ") == vm.status("blocks gone "));
  CHECK(number_after(vm.tell("audit"), "stale ") == 0);
  CHECK(vm.ask("dma 2") == "2 of 2 coherent, 0 out of reach");
  CHECK(number_after(vm.ask("memory"), "total ") > 0);
  CHECK(vm.quit() == 0);

  neighbour.balloon(16 * MiB);
  CHECK(neighbour.ask("dma 2") == "2 of 2 coherent, 0 out of reach");
  CHECK(number_after(neighbour.tell("audit"), "stale ") == 0);
  CHECK(neighbour.quit() == 0);
  CHECK(pinned_now() == unpinned);
}

}  // namespace system_a_hostile_virtual_machine
