// SPDX-License-Identifier: BSL-1.0
// A whole virtual machine (examples/vmm): a stock kernel as guest, its own balloon and virtio-mem
// drivers, and a device that the guest drives by itself.
// tier: 1 2
// machine: -m 1024 -device edu
// modules: kvm
// guest: yes
// limit: 1500
#include <system/guest_machine.hpp>

#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace system_a_virtual_machine {

using namespace in_machine;

namespace {

/// The device is attached with `whole_section`, under an inhibition policy.
void the_balloon_rests(std::string const& inhibit) {
  guest_machine vm{{"--memory", "160M", "--inhibit", inhibit}};
  const auto pinned = pinned_now();
  attach(vm);
  CHECK(vm.status("mapped ") == bytes(160 * MiB));
  CHECK(pinned_now() - pinned >= 160 * MiB);
  CHECK(vm.tell("status").find("held by ") != std::string::npos);
  const auto before = vm.status("resident ");
  CHECK(vm.ask("dma 2") == "2 of 2 coherent, 0 out of reach");
  vm.balloon(32 * MiB);
  CHECK(vm.status("inhibited ") == 8192);
  CHECK(vm.status(": discarded ") == 0);
  CHECK(vm.status("resident ") >= before);
  vm.balloon(0);
  CHECK(vm.ask("dma 2") == "2 of 2 coherent, 0 out of reach");
  no_page_is_stale(vm);
  detach(vm);
  CHECK(pinned_now() == pinned);
  CHECK(vm.tell("status").find("held by ") == std::string::npos);
  vm.balloon(32 * MiB);
  CHECK(vm.status(": discarded ") == 8192);
  CHECK(before - vm.status("resident ") > bytes(30 * MiB));
  CHECK(vm.quit() == 0);
}

}  // namespace

TEST_CASE("what cannot be done is said in one sentence") {
  const auto refused = [](std::vector<std::string> words) {
    guest_machine vm{std::move(words), false};
    CHECK(vm.wait() == 1);
    CHECK_FALSE(vm.heard("\n\n", 5));  // reads all that there is
    return vm.console();
  };
  CHECK(refused({"--kernel", "/case"}) ==
        "vmm: '/case' is no bzImage: it has no Linux boot header\n");
  CHECK(refused({"--kernel", "/none"}).starts_with("vmm: '/none' cannot be read: "));
  CHECK(refused({"--memory", "64M"}).find("is too small for this kernel and initrd") !=
        std::string::npos);
  CHECK(refused({"--memory", "lots"}).starts_with("vmm: --memory: 'lots' is no multiple of 2M"));
  CHECK(refused({"--colour"}) ==
        "vmm: '--colour' is not an option of this program; --help lists them\n");
  CHECK(refused({"--device", "0000:00:1f.7"}).find("0000:00:1f.7") != std::string::npos);
  CHECK(refused({"--memory", "128M", "--most-memory", "256M", "--device", edu_address()})
            .find("map in blocks (fixed_block<Size>)") != std::string::npos);
  if (::access("/dev/iommu", F_OK) != 0)
    CHECK(refused({"--backend", "iommufd"}).find("/dev/iommu") != std::string::npos);
  std::filesystem::rename("/dev/kvm", "/dev/kvm-aside");
  CHECK(refused({}).starts_with("vmm: open /dev/kvm: No such file or directory; load kvm_intel"));
  std::filesystem::rename("/dev/kvm-aside", "/dev/kvm");
}

TEST_CASE("without a device, what the guest's balloon takes is the host's") {
  guest_machine vm{{"--memory", "160M"}};
  CHECK(vm.ask("touch 0x5000000") == "done");
  const auto before = vm.status("resident ");
  CHECK(before > bytes(120 * MiB));
  vm.balloon(64 * MiB);
  CHECK(number_after(vm.ask("memory"), "inflated ") == bytes(64 * MiB));
  CHECK(vm.status(": discarded ") == 16384);
  const auto after = vm.status("resident ");
  CHECK(before - after > bytes(60 * MiB));
  std::printf("figures  balloon of 64 MiB, no device: resident %lld -> %lld KiB\n",
              static_cast<long long>(before / 1024), static_cast<long long>(after / 1024));
  vm.balloon(0);
  CHECK(number_after(vm.ask("memory"), "inflated ") == 0);
  CHECK(vm.ask("touch 0x4000000") == "done");
  CHECK(vm.quit() == 0);
}

TEST_CASE("attached whole, the balloon rests, and its driver is content: held down by the group") {
  the_balloon_rests("group");
}
TEST_CASE("attached whole, the balloon rests, and its driver is content: by the device") {
  the_balloon_rests("device");
}
TEST_CASE("attached whole, the balloon rests, and its driver is content: by the container") {
  the_balloon_rests("container");
}

/// The device reads a block that is discarded, until the kernel has logged a fault: its interrupt
/// comes when it comes, and compaction in the guest may have brought the block back meanwhile.
bool a_read_of_a_discarded_block_faults(guest_machine& vm) {
  for (int attempt = 0; attempt < 10; ++attempt) {
    const auto somewhere = number_after(vm.tell("discarded"), "");
    CHECK(somewhere >= 0);
    CHECK(vm.ask("dma-from " + std::to_string(somewhere)) == "done");
    for (int wait = 0; wait < 100; ++wait) {
      if (kernel_log().find("DMAR: [DMA Read") != std::string::npos) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds{20});
    }
  }
  return false;
}

TEST_CASE(
    "in blocks, memory leaves the host while the device is attached, and comes back coherent") {
  constexpr std::uint64_t half = 80 * MiB;
  guest_machine vm{{"--memory", "160M", "--blocks", "2M"}};
  const auto unpinned = pinned_now();
  attach(vm);
  const auto before = vm.status("resident ");
  CHECK(before == bytes(160 * MiB));
  CHECK(vm.status("mapped ") == before);
  CHECK(vm.ask("dma 2") == "2 of 2 coherent, 0 out of reach");
  vm.balloon(half);
  const auto gone = vm.status("discarded in blocks ");
  std::printf("figures  balloon of %llu MiB, attached in blocks of 2 MiB: %lld MiB left the host\n",
              static_cast<unsigned long long>(half / MiB),
              static_cast<long long>(gone / bytes(MiB)));
  CHECK(gone * 10 >= bytes(half) * 6);
  // Compaction in the guest moves ballooned pages, so what has gone may change all the time.
  const auto adds_up = [&] {
    const auto said = vm.tell("status");
    CAPTURE(said);
    const auto left = before - number_after(said, "discarded in blocks ");
    CHECK(number_after(said, "mapped ") == left);
    CHECK(number_after(said, "resident ") == left);
    CHECK(said.find("whole blocks may go") != std::string::npos);
  };
  adds_up();
  CHECK(bytes(pinned_now() - unpinned) < before - gone + bytes(4 * MiB));

  // a block that has gone: the device cannot reach it, and nobody notices
  CHECK(a_read_of_a_discarded_block_faults(vm));
  adds_up();
  CHECK(vm.ask("dma 2") == "2 of 2 coherent, 0 out of reach");
  no_page_is_stale(vm);

  vm.balloon(0);
  CHECK(vm.status("discarded in blocks ") == 0);
  CHECK(vm.status("brought back ") == vm.status("blocks gone "));
  CHECK(vm.status("fenced ") == 0);
  CHECK(vm.status("mapped ") == before);
  CHECK(vm.ask("dma-apart 8") == "8 of 8 coherent, 0 out of reach");
  no_page_is_stale(vm);
  const auto blocks = vm.status("blocks gone ");
  std::printf("figures  %lld blocks: %lld us each to give back, %lld us each to bring in\n",
              static_cast<long long>(blocks),
              static_cast<long long>(vm.status("microseconds inflating ") / blocks),
              static_cast<long long>(vm.status(", deflating ") / blocks));
  detach(vm);
  CHECK(pinned_now() == unpinned);
  CHECK(vm.quit() == 0);
}

TEST_CASE("virtio-mem grows and shrinks the guest while the device is attached") {
  guest_machine vm{{"--memory", "128M", "--most-memory", "256M", "--blocks", "2M"}};
  const auto grown_to = [&](std::uint64_t size) {
    CHECK(vm.tell("memory " + std::to_string(size)) == "");
    CHECK(vm.settled("memory ", [&](auto now) { return now == bytes(size); }) == bytes(size));
  };
  grown_to(192 * MiB);
  const auto unpinned = pinned_now();
  attach(vm);
  CHECK(vm.status("mapped ") == bytes(192 * MiB));
  CHECK(vm.status("resident ") == bytes(192 * MiB));
  grown_to(256 * MiB);
  CHECK(vm.status("mapped ") == bytes(256 * MiB));
  CHECK(number_after(vm.ask("memory"), "total ") > bytes(200 * MiB));
  CHECK(vm.ask("dma-apart 8") == "8 of 8 coherent, 0 out of reach");
  grown_to(160 * MiB);
  CHECK(vm.status("mapped ") == bytes(160 * MiB));
  CHECK(vm.status("resident ") == bytes(160 * MiB));
  CHECK(bytes(pinned_now() - unpinned) < bytes(161 * MiB));
  CHECK(vm.ask("dma-apart 4") == "4 of 4 coherent, 0 out of reach");
  no_page_is_stale(vm);

  // what the guest needs itself it does not unplug; it is told, and not forced
  grown_to(256 * MiB);
  CHECK(vm.ask("hold " + std::to_string(130 * MiB)) == "done");
  CHECK(vm.tell("memory 128M") == "");
  const auto kept = vm.settled("memory ", [](auto now) { return now > 0; });
  CHECK(kept > bytes(128 * MiB));
  CHECK(vm.tell("status").find(" of 128M (at most 256M") != std::string::npos);
  CHECK(vm.status("mapped ") == kept);
  CHECK(vm.ask("dma 2") == "2 of 2 coherent, 0 out of reach");
  no_page_is_stale(vm);
  detach(vm);
  CHECK(pinned_now() == unpinned);
  CHECK(vm.quit() == 0);
}

}  // namespace system_a_virtual_machine
