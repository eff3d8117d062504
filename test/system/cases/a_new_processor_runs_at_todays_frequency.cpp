// SPDX-License-Identifier: BSL-1.0
// The virtual machine monitor (examples/vmm) gives a processor the frequency that its TSC has now.
// Where KVM is built in, it gives a new one the kernel's early estimate: a guest whose frequency is
// not the host's loses its timer, if the host cannot scale the TSC.
// tier: 2
#include <system/in_machine.hpp>

#include <support/process_facts.hpp>
#include <vmm/kvm.hpp>

#include <chrono>
#include <cstdio>
#include <linux/kvm.h>
#include <optional>
#include <string>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <thread>
#include <unistd.h>

namespace system_a_new_processor_runs_at_todays_frequency {

using namespace in_machine;

namespace {

/// What the kernel has measured once it had time to: "... calibration: 2445.408 MHz", in kHz.
std::optional<long> refined_khz() {
  constexpr int read_all = 3;
  std::string log(std::size_t{1} << 20, '\0');
  const int length = ::klogctl(read_all, log.data(), static_cast<int>(log.size()));
  REQUIRE(length > 0);
  constexpr std::string_view words = "Refined TSC clocksource calibration: ";
  const auto at = log.find(words);
  if (at == log.npos) return {};
  long mega = 0;
  long kilo = 0;
  REQUIRE(std::sscanf(log.c_str() + at + words.size(), "%ld.%3ld", &mega, &kilo) == 2);
  return mega * 1000 + kilo;
}

/// This process's only virtual processor, -1 if it has none.
int only_processor() {
  for (auto const& [number, target] : tether_test::descriptors())
    if (target.starts_with("anon_inode:kvm-vcpu:")) return number;
  return -1;
}

}  // namespace

TEST_CASE("a processor's TSC has the frequency that the kernel has refined") {
  std::optional<long> refined = refined_khz();
  for (unsigned tries = 0; tries < 300 && !refined; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
    refined = refined_khz();
  }
  REQUIRE(refined);
  const vmm::virtual_machine machine;
  const int bare = ::ioctl(machine.machine(), KVM_CREATE_VCPU, 1);
  REQUIRE(bare >= 0);
  const long early = ::ioctl(bare, KVM_GET_TSC_KHZ, 0);
  ::close(bare);
  const vmm::processor ours{machine, 0};
  const int number = only_processor();
  REQUIRE(number >= 0);
  CHECK(::ioctl(number, KVM_GET_TSC_KHZ, 0) == *refined);
  std::printf("figures  TSC: %ld kHz in a new processor, %ld kHz in the monitor's%s\n", early,
              *refined, early == *refined ? "; this time the two do not differ" : "");
}

}  // namespace system_a_new_processor_runs_at_todays_frequency
