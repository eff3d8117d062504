// SPDX-License-Identifier: BSL-1.0
// The virtual machine put together: memory, processors, devices, and which of them answers at which
// address.
//
//     0            [ memory ][ (virtio-mem's region, or from 4 GiB on) ]
//     0xd0000000   [ balloon | virtio-mem ]        registers, 4 KiB each
//     0xd1000000   [ device | device | ... ]       BAR 0 of each, in windows of 16 MiB
#pragma once

#include "balloon_device.hpp"
#include "boot.hpp"
#include "command_line.hpp"
#include "console.hpp"
#include "guest_memory.hpp"
#include "kvm.hpp"
#include "memory_device.hpp"
#include "passthrough.hpp"
#include "sentence.hpp"
#include "virtio_mmio.hpp"

#include <tether/discard/virtio_mem.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/ram_block.hpp>
#include <tether/topology/region.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vmm {

class machine final : public bus {
 public:
  /// Everything but processors. Fails: throws `cannot`.
  explicit machine(options const& asked)
      : asked_{asked},
        ram_{must(tether::ram_block::allocate("ram", asked.memory, tether::memory_kind::shared))} {
    if (asked.chosen.blocks) must(tether::divide(ram_, block_bytes));
    place(ram_, 0, 0);
    if (asked.most_memory > asked.memory) add_hotplug();
    passthrough_ = must(make_passthrough(asked.chosen, guest_, gate_, kvm_));
    static constexpr std::array slots{mmio_slot{balloon_at, balloon_line},
                                      mmio_slot{hotplug_at, hotplug_line}};
    boot_files files = asked.boot;
    files.command_line = base_words + files.command_line;
    load_linux({ram_.data(), ram_.size()}, files, std::span{slots}.first(hotplug_ ? 2 : 1),
               asked.processors);
  }

  [[nodiscard]] virtual_machine const& kvm() const noexcept { return kvm_; }
  [[nodiscard]] vmm::console& console() noexcept { return console_; }
  [[nodiscard]] vmm::passthrough& passthrough() noexcept { return *passthrough_; }
  [[nodiscard]] tether::discard_gate<> const& gate() const noexcept { return gate_; }
  /// Blocks of memory, and where the guest sees them.
  [[nodiscard]] std::vector<std::pair<tether::ram_block const*, std::uint64_t>> memory() const {
    if (!hotplug_) return {{&ram_, 0}};
    return {{&ram_, 0}, {&*hotplug_memory_, hotplug_first_}};
  }

  /// Asks the guest for memory. Units: bytes. Fails: throws `cannot`.
  void set_balloon(std::uint64_t bytes) {
    if (bytes > ram_.size()) throw cannot{"the guest has " + in_words(ram_.size()) + " only"};
    balloon_bus_.with_device([&](auto) {
      balloon_.set_target(bytes);
      return true;
    });
  }
  /// Asks the guest to grow or shrink.
  void set_memory(std::uint64_t bytes) {
    if (!hotplug_) throw cannot{"nothing can be plugged: start with --most-memory"};
    if (bytes < ram_.size() || bytes > asked_.most_memory) {
      throw cannot{"the guest has from " + in_words(ram_.size()) + " to " +
                   in_words(asked_.most_memory)};
    }
    hotplug_bus_->with_device(
        [&](auto) { return must(hotplug_->model().request_size(bytes - ram_.size())); });
  }
  /// Calls `look(balloon, virtio-mem or null)` while the guest does nothing to them.
  template <class Look>
  void with_devices(Look look) {
    balloon_bus_.with_device([&](std::span<virtqueue> queues) {
      balloon_.ask_for_statistics(queues);
      if (!hotplug_) look(balloon_, static_cast<memory_device const*>(nullptr));
      else
        hotplug_bus_->with_device([&](auto) {
          look(balloon_, &*hotplug_);
          return false;
        });
      return false;
    });
  }
  /// Devices whose driver broke the protocol.
  [[nodiscard]] std::string broken() const {
    std::string all;
    if (balloon_bus_.needs_reset()) all += " balloon";
    if (hotplug_bus_ && hotplug_bus_->needs_reset()) all += " virtio-mem";
    return all;
  }

  // What the processors ask for.
  void read_memory(std::uint64_t address, std::byte* bytes, std::size_t count) override {
    const std::span into{bytes, count};
    if (auto* const found = device_at(address)) found->read(address % virtio_mmio::bytes, into);
    else if (!passthrough_->read(address, into)) std::ranges::fill(into, std::byte{0xff});
  }
  void write_memory(std::uint64_t address, std::byte const* bytes, std::size_t count) override {
    const std::span from{bytes, count};
    if (auto* const found = device_at(address)) found->write(address % virtio_mmio::bytes, from);
    else passthrough_->write(address, from);
  }
  std::uint8_t read_port(std::uint16_t port) override {
    return is_console(port) ? console_.read(port) : 0;
  }
  void write_port(std::uint16_t port, std::uint8_t value) override {
    constexpr std::uint16_t keyboard = 0x64;
    constexpr std::uint8_t sleep_enable = 0x20;
    constexpr std::uint8_t reset = 0xfe;
    if (is_console(port)) console_.write(port, value);
    if ((port == sleep_port && (value & sleep_enable) != 0) || (port == keyboard && value == reset))
      end();
  }
  [[nodiscard]] bool ended() const override { return ended_; }
  /// Answers whether it had ended before.
  bool end() noexcept { return ended_.exchange(true); }

 private:
  static constexpr std::uint32_t balloon_at = 0xd0000000;
  static constexpr std::uint32_t hotplug_at = 0xd0001000;
  static constexpr std::uint8_t balloon_line = 5;
  static constexpr std::uint8_t hotplug_line = 6;
  // messages on the serial port; a reset through the keyboard's controller; no PCI bus
  static constexpr const char* base_words =
      "earlyprintk=serial,ttyS0,115200,keep quiet reboot=k panic=-1 pci=off no_timer_check ";

  void place(tether::ram_block& block, std::uint64_t at, std::uint32_t slot) {
    static_cast<void>(must(guest_.place(tether::region::ram(block), tether::guest_address{at})));
    kvm_.show(slot, at, block.data(), block.size());
    memory_.add(block, at);
  }
  /// Memory that can be plugged: behind the guest's first, where Linux can add it (128 MiB), or
  /// above 4 GiB.
  void add_hotplug() {
    constexpr std::uint64_t linux_block = 128 * MiB;
    const std::uint64_t size = asked_.most_memory - asked_.memory;
    hotplug_first_ = (asked_.memory + linux_block - 1) / linux_block * linux_block;
    if (hotplug_first_ + size > balloon_at) hotplug_first_ = 4 * GiB;
    hotplug_memory_.emplace(
        must(tether::ram_block::allocate("plugged", size, tether::memory_kind::shared)));
    must(tether::divide(*hotplug_memory_, block_bytes));
    place(*hotplug_memory_, hotplug_first_, 1);
    hotplug_.emplace(
        must(tether::virtio_mem<>::create("virtio-mem", *hotplug_memory_,
                                          tether::guest_address{hotplug_first_}, gate_)),
        memory_);
    hotplug_bus_.emplace(*hotplug_, memory_, [this] { kvm_.interrupt(hotplug_line); });
  }

  [[nodiscard]] static bool is_console(std::uint16_t port) noexcept {
    return port >= console::first_port && port <= console::last_port;
  }
  [[nodiscard]] virtio_mmio* device_at(std::uint64_t address) noexcept {
    if (address - balloon_at < virtio_mmio::bytes) return &balloon_bus_;
    if (hotplug_bus_ && address - hotplug_at < virtio_mmio::bytes) return &*hotplug_bus_;
    return nullptr;
  }

  options const& asked_;
  virtual_machine kvm_;
  // in the order in which they depend on each other: the last goes first
  tether::ram_block ram_;
  std::optional<tether::ram_block> hotplug_memory_;
  std::uint64_t hotplug_first_ = 0;
  tether::address_space guest_;
  tether::discard_gate<> gate_;
  guest_memory memory_;
  balloon_device balloon_{guest_, gate_, memory_};
  virtio_mmio balloon_bus_{balloon_, memory_, [this] { kvm_.interrupt(balloon_line); }};
  std::optional<memory_device> hotplug_;
  std::optional<virtio_mmio> hotplug_bus_;
  std::unique_ptr<vmm::passthrough> passthrough_;
  vmm::console console_;
  std::atomic<bool> ended_{false};
};

}  // namespace vmm
