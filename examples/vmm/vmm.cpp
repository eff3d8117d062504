// SPDX-License-Identifier: BSL-1.0
// A small virtual machine monitor on KVM: a stock Linux guest with a balloon, memory that comes and
// goes, and devices passed through, whose DMA never disagrees with the guest about a page. `--help`
// lists its options and commands; machine.hpp says how its parts fit together.
#include "command_line.hpp"
#include "control.hpp"
#include "kvm.hpp"
#include "machine.hpp"
#include "sentence.hpp"

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <list>
#include <span>
#include <string>
#include <sys/eventfd.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

int say(char const* sentence, int status) {
  std::fprintf(stderr, "vmm: %s\n", sentence);
  return status;
}

/// Runs the guest until it ends, or somebody says `quit`. Fails: throws `vmm::cannot`.
void run(vmm::options const& asked) {
  vmm::machine machine{asked};
  for (std::string const& device : asked.devices) vmm::must(machine.passthrough().attach(device));
  vmm::control control{machine, asked.control};
  const vmm::file ended{vmm::must_call(::eventfd(0, EFD_CLOEXEC), "make an eventfd")};

  // interrupts KVM_RUN, and does nothing else
  struct sigaction wake{};
  wake.sa_handler = [](int) {};
  ::sigaction(SIGUSR1, &wake, nullptr);

  std::list<vmm::processor> processors;
  for (std::uint32_t one = 0; one < asked.processors; ++one)
    processors.emplace_back(machine.kvm(), one);
  processors.front().begin_at(vmm::kernel_at, vmm::boot_params_at);
  std::string failure;
  {
    std::list<std::jthread> threads;
    for (vmm::processor& one : processors) {
      threads.emplace_back([&machine, &one, &ended, &failure] {
        try {
          one.run(machine);
        } catch (vmm::cannot const& why) {
          if (!machine.end()) failure = why.what();
        }
        static_cast<void>(::eventfd_write(ended.number(), 1));
      });
    }
    control.run(ended.number());
    machine.end();
    for (vmm::processor& one : processors) one.leave();
  }
  std::fflush(stdout);
  if (!failure.empty()) throw vmm::cannot{failure};
}

}  // namespace

int main(int count, char** words) try {
  const auto asked = vmm::parse(
      std::span<char const* const>{words + 1, static_cast<std::size_t>(count > 0 ? count - 1 : 0)});
  if (asked.help) {
    std::fputs(vmm::usage, stdout);
    return 0;
  }
  run(asked);
  return 0;
} catch (std::exception const& why) {
  return say(why.what(), 1);
}
