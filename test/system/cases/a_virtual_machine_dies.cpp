// SPDX-License-Identifier: BSL-1.0
// A virtual machine (examples/vmm) that dies in the midst of giving or taking memory: the guest by
// itself, and the monitor by a signal.
// tier: 1 2
// machine: -m 1024 -device edu
// modules: kvm
// guest: yes
// limit: 900
#include <system/guest_machine.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace system_a_virtual_machine_dies {

using namespace in_machine;

namespace {

/// Waits until what is mapped is no more `from`. Answers whether that came to pass.
bool is_in_the_midst(guest_machine& vm, std::int64_t from) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{200};
  while (std::chrono::steady_clock::now() < deadline) {
    const auto mapped = vm.status("mapped ");
    if (mapped >= 0 && mapped != from) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("killed in the midst of it, guest or monitor, and a new one starts at once") {
  const auto unpinned = pinned_now();
  const std::vector<std::string> words{"--memory", "128M", "--most-memory", "256M",
                                       "--blocks", "2M",   "--device",      edu_address()};
  {
    guest_machine vm{words};
    const auto before = vm.status("mapped ");
    CHECK(vm.tell("balloon 100M") == "");  // more than it can ever give
    CHECK(is_in_the_midst(vm, before));
    CHECK(vm.tell("say write c /proc/sysrq-trigger") == "");  // the guest's kernel crashes
    CHECK(vm.wait() == 0);
    CHECK(pinned_now() == unpinned);
  }
  {
    guest_machine vm{words, true, "next"};
    CHECK(vm.ask("dma 1") == "1 of 1 coherent, 0 out of reach");
    const auto before = vm.status("mapped ");
    CHECK(vm.tell("memory 256M") == "");
    CHECK(is_in_the_midst(vm, before));
    vm.kill();
    CHECK(pinned_now() == unpinned);
  }
  guest_machine vm{words, false, "last"};
  CHECK(vm.status("mapped ") == bytes(128 * MiB));
  CHECK(vm.quit() == 0);
  CHECK(pinned_now() == unpinned);
}

}  // namespace system_a_virtual_machine_dies
