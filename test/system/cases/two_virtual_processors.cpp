// SPDX-License-Identifier: BSL-1.0
// A virtual machine (examples/vmm) with two processors: one works in memory while the balloon's
// driver is in the monitor on the other. The machine has one, and runs them in turn.
// tier: 1 2
// machine: -m 1024 -device edu
// modules: kvm
// guest: yes
// limit: 600
#include <system/guest_machine.hpp>

#include <cstdio>
#include <string>

namespace system_two_virtual_processors {

using namespace in_machine;

TEST_CASE("blocks leave and come back under a processor that works in memory all the time") {
  // beside the balloon there must be room for the work: of 160M the guest, short of memory, takes
  // the balloon's back (DEFLATE_ON_OOM) as often as it gives it
  constexpr std::uint64_t memory = 192 * MiB;
  guest_machine vm{
      {"--memory", std::to_string(memory / MiB) + "M", "--blocks", "2M", "--cpus", "2"}};
  CHECK(vm.ask("processors") == "2");
  const auto unpinned = pinned_now();
  attach(vm);
  CHECK(vm.ask("churn " + std::to_string(4 * MiB)) == "begun");
  for (unsigned round = 0; round < 3; ++round) {
    CAPTURE(round);
    const auto before = vm.status("blocks gone ");
    vm.balloon(80 * MiB);
    CHECK(vm.status("blocks gone ") > before);
    CHECK(vm.ask("dma 1") == "1 of 1 coherent, 0 out of reach");
    CHECK(number_after(vm.tell("audit"), "stale ") == 0);
    vm.balloon(0);
    CHECK(vm.ask("dma 1") == "1 of 1 coherent, 0 out of reach");
  }
  const auto worked = vm.ask("churned");
  CAPTURE(worked);
  CHECK(number_after(worked, "") > 3);
  CHECK(worked.ends_with(" rounds, 0 wrong"));
  CHECK(vm.status("discarded in blocks ") == 0);
  CHECK(vm.status("brought back ") == vm.status("blocks gone "));
  CHECK(vm.status("fenced ") == 0);
  CHECK(vm.status("mapped ") == bytes(memory));
  no_page_is_stale(vm);
  std::printf("figures  two processors: %lld blocks left and came back, %lld rounds in 4 MiB\n",
              static_cast<long long>(vm.status("blocks gone ")),
              static_cast<long long>(number_after(worked, "")));
  detach(vm);
  CHECK(pinned_now() == unpinned);
  CHECK(vm.quit() == 0);
}

}  // namespace system_two_virtual_processors
