// SPDX-License-Identifier: BSL-1.0
// KVM: a virtual machine, the memory that its processors see, its interrupt lines, and processors
// that run until the machine is told to stop.
#pragma once

#include "sentence.hpp"

#include <tether/core/kernel.hpp>
#include <tether/core/kernel_handles.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/mman.h>

namespace vmm {

using file = tether::kernel_descriptor<tether::linux_kernel>;

/// What a processor asks of the devices around it.
struct bus {
  virtual ~bus() = default;
  /// A read fills `bytes`; nobody answering leaves them as they are. `address` is physical.
  virtual void read_memory(std::uint64_t address, std::byte* bytes, std::size_t count) = 0;
  virtual void write_memory(std::uint64_t address, std::byte const* bytes, std::size_t count) = 0;
  virtual std::uint8_t read_port(std::uint16_t port) = 0;
  virtual void write_port(std::uint16_t port, std::uint8_t value) = 0;
  /// Whether the guest has ended its machine.
  [[nodiscard]] virtual bool ended() const = 0;
};

class virtual_machine {
 public:
  virtual_machine() {
    const int opened = ::open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (opened < 0) {
      throw cannot{std::string{"open /dev/kvm: "} + std::strerror(errno) +
                   "; load kvm_intel or kvm_amd, and be allowed to open it"};
    }
    kvm_ = file{opened};
    machine_ = file{must_call(::ioctl(opened, KVM_CREATE_VM, 0), "create a virtual machine")};
    must_call(::ioctl(machine(), KVM_SET_TSS_ADDR, 0xfffbd000), "set the TSS address");
    must_call(::ioctl(machine(), KVM_CREATE_IRQCHIP), "create the interrupt controllers");
    kvm_pit_config timer{};
    must_call(::ioctl(machine(), KVM_CREATE_PIT2, &timer), "create the timer");
  }

  [[nodiscard]] int machine() const noexcept { return machine_.number(); }
  [[nodiscard]] int kvm() const noexcept { return kvm_.number(); }

  /// Shows `bytes` of this process's memory to the guest; none takes the slot away.
  void show(std::uint32_t slot, std::uint64_t at, std::byte const* memory, std::uint64_t bytes) {
    kvm_userspace_memory_region region{};
    region.slot = slot;
    region.guest_phys_addr = at;
    region.memory_size = bytes;
    region.userspace_addr = reinterpret_cast<std::uintptr_t>(memory);
    must_call(::ioctl(machine(), KVM_SET_USER_MEMORY_REGION, &region), "show memory to the guest");
  }

  /// One edge of an interrupt line.
  void interrupt(std::uint32_t line) const {
    for (const std::uint32_t level : {1U, 0U}) {
      kvm_irq_level change{};
      change.irq = line;
      change.level = level;
      must_call(::ioctl(machine(), KVM_IRQ_LINE, &change), "raise an interrupt");
    }
  }

 private:
  file kvm_;
  file machine_;
};

/// One virtual processor. Created and run by any thread, by one at a time.
class processor {
 public:
  processor(virtual_machine const& of, std::uint32_t number)
      : processor_{must_call(::ioctl(of.machine(), KVM_CREATE_VCPU, number),
                             "create a virtual processor")} {
    const auto size = static_cast<std::size_t>(
        must_call(::ioctl(of.kvm(), KVM_GET_VCPU_MMAP_SIZE, 0), "ask for the size of a processor"));
    void* const at =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, processor_.number(), 0);
    if (at == MAP_FAILED) throw cannot{"the virtual processor's state cannot be mapped"};
    state_ = {static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(at)), size};
    // KVM gives a new processor the host's TSC frequency of the time when KVM was initialised:
    // where it is built in, before the kernel refined it. If the two differ by more than 250 ppm
    // and the TSC cannot be scaled, the guest's timer fires late, or never. 0: today's frequency.
    must_call(::ioctl(processor_.number(), KVM_SET_TSC_KHZ, 0), "set the processor's frequency");
    tell_features(of, number);
  }

  /// Protected mode with flat segments, no paging, as the boot protocol has it.
  void begin_at(std::uint64_t code, std::uint64_t boot_params) {
    kvm_sregs special{};
    must_call(::ioctl(processor_.number(), KVM_GET_SREGS, &special), "read registers");
    kvm_segment flat{};
    flat.limit = 0xffffffff;
    flat.present = flat.s = flat.db = flat.g = 1;
    flat.type = 0xb;
    flat.selector = 0x10;
    special.cs = flat;
    flat.type = 0x3;
    flat.selector = 0x18;
    special.ds = special.es = special.fs = special.gs = special.ss = flat;
    special.cr0 |= 1;
    must_call(::ioctl(processor_.number(), KVM_SET_SREGS, &special), "set registers");
    kvm_regs general{};
    general.rip = code;
    general.rsi = boot_params;
    general.rflags = 2;
    must_call(::ioctl(processor_.number(), KVM_SET_REGS, &general), "set registers");
  }

  /// Runs until the guest ends its machine, or `leave` is called.
  /// Fails: throws `cannot` if the processor cannot go on.
  void run(bus& around) {
    thread_ = ::pthread_self();
    started_ = true;
    while (!leaving_ && !around.ended()) {
      if (::ioctl(processor_.number(), KVM_RUN, 0) < 0 && errno != EINTR && errno != EAGAIN)
        throw cannot{std::string{"run the guest: "} + std::strerror(errno)};
      if (errno == EINTR && leaving_) break;
      handle_exit(around);
    }
  }
  /// Ends `run` on another thread. That thread has a handler for SIGUSR1 that does nothing.
  void leave() {
    leaving_ = true;
    state()->immediate_exit = 1;
    if (started_) ::pthread_kill(thread_, SIGUSR1);
  }

 private:
  [[nodiscard]] kvm_run* state() const noexcept { return state_.as<kvm_run>(); }

  void handle_exit(bus& around) {
    kvm_run& now = *state();
    switch (now.exit_reason) {
      case KVM_EXIT_IO: {
        auto* at = state_.as<std::uint8_t>(now.io.data_offset);
        for (std::uint32_t one = 0; one < now.io.count; ++one) {
          for (unsigned byte = 0; byte < now.io.size; ++byte, ++at) {
            const auto port = static_cast<std::uint16_t>(now.io.port + byte);
            if (now.io.direction == KVM_EXIT_IO_IN) *at = around.read_port(port);
            else around.write_port(port, *at);
          }
        }
        break;
      }
      case KVM_EXIT_MMIO: {
        auto* const bytes = reinterpret_cast<std::byte*>(now.mmio.data);
        if (now.mmio.is_write != 0) around.write_memory(now.mmio.phys_addr, bytes, now.mmio.len);
        else around.read_memory(now.mmio.phys_addr, bytes, now.mmio.len);
        break;
      }
      case KVM_EXIT_SHUTDOWN: throw cannot{"the guest's processor has shut down (a triple fault)"};
      case KVM_EXIT_FAIL_ENTRY:
      case KVM_EXIT_INTERNAL_ERROR:
        throw cannot{"KVM cannot run the guest (exit " + std::to_string(now.exit_reason) + ")"};
      default: break;
    }
    now.exit_reason = KVM_EXIT_INTR;  // handled: an interrupted run must not see it again
  }

  /// Everything that KVM has, the TSC deadline timer, and that this is a virtual machine: without
  /// it a guest finds no kvm-clock.
  void tell_features(virtual_machine const& of, std::uint32_t number) const {
    // linux/kvm.h's own struct has its array at another offset in C++
    struct table {
      std::uint32_t count;
      std::uint32_t padding;
      std::array<kvm_cpuid_entry2, 128> entries;
    };
    constexpr unsigned long get_supported = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x05, 8);
    constexpr unsigned long set = _IOC(_IOC_WRITE, KVMIO, 0x90, 8);
    table all{};
    all.count = static_cast<std::uint32_t>(all.entries.size());
    must_call(::ioctl(of.kvm(), get_supported, &all), "ask for the processor's features");
    for (std::uint32_t at = 0; at < all.count; ++at) {
      kvm_cpuid_entry2& leaf = all.entries[at];
      if (leaf.function == 1) {
        leaf.ecx |= 1U << 24 | 1U << 31;
        leaf.ebx = (leaf.ebx & 0x00ffffff) | number << 24;
      }
      if (leaf.function == 0xb || leaf.function == 0x1f) leaf.edx = number;
    }
    must_call(::ioctl(processor_.number(), set, &all), "set the processor's features");
  }

  file processor_;
  tether::kernel_area<tether::linux_kernel> state_;
  pthread_t thread_{};
  std::atomic<bool> started_{false};
  std::atomic<bool> leaving_{false};
};

}  // namespace vmm
