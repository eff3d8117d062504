// SPDX-License-Identifier: BSL-1.0
// A virtual machine (examples/vmm) whose device comes and goes all the time.
// tier: 1 2
// machine: -m 1024 -device edu
// modules: kvm
// guest: yes
// limit: 1800
#include <system/guest_machine.hpp>

#include <cstdint>
#include <cstdio>
#include <string>

namespace system_a_virtual_machine_in_turmoil {

using namespace in_machine;

namespace {

/// Whether the device is shown all that is there, and nothing else. Blocks move meanwhile.
bool what_is_there_is_mapped(guest_machine& vm, std::uint64_t all) {
  for (unsigned tries = 0; tries < 100; ++tries) {
    const auto said = vm.tell("status");
    if (number_after(said, "mapped ") + number_after(said, "discarded in blocks ") == bytes(all))
      return true;
  }
  return false;
}

}  // namespace

TEST_CASE("the device comes and goes in the midst of ballooning and plugging") {
  const auto unpinned = pinned_now();
  guest_machine vm{{"--memory", "128M", "--most-memory", "256M", "--blocks", "2M"}};
  unsigned ballooning = 0;
  unsigned plugging = 0;
  for (unsigned round = 0; round < 50; ++round) {
    CAPTURE(round);
    const std::uint64_t balloon = round % 2 == 0 ? 40 * MiB : 8 * MiB;
    const std::uint64_t memory = round % 4 < 2 ? 192 * MiB : 144 * MiB;
    CHECK(vm.tell("balloon " + std::to_string(balloon)) == "");
    CHECK(vm.tell("memory " + std::to_string(memory)) == "");
    CHECK(vm.tell("attach " + edu_address()).starts_with("its registers"));
    const auto attached = vm.tell("status");
    if (number_after(attached, "balloon ") != bytes(balloon)) ++ballooning;
    if (number_after(attached, "memory ") != bytes(memory)) ++plugging;
    CHECK(what_is_there_is_mapped(vm, 256 * MiB));
    if (round % 5 == 0) CHECK(vm.ask("dma 1") == "1 of 1 coherent, 0 out of reach");
    const auto audited = vm.tell("audit");
    CAPTURE(audited);
    CHECK(number_after(audited, "compared ") > 0);
    CHECK(number_after(audited, "stale ") == 0);
    CHECK(vm.tell("detach " + edu_address()) == "");
    CHECK(pinned_now() == unpinned);
  }
  std::printf("figures  of 50 attaches %u in the midst of ballooning, %u of plugging\n", ballooning,
              plugging);
  CHECK(ballooning > 0);
  CHECK(plugging > 0);
  vm.balloon(0);
  CHECK(vm.status("fenced ") == 0);
  CHECK(vm.status("failed ") == 0);
  CHECK(vm.quit() == 0);
}

}  // namespace system_a_virtual_machine_in_turmoil
