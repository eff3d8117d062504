// SPDX-License-Identifier: BSL-1.0
#include <tether/discard/virtio_mem.hpp>

#include <tether/attach/container.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/testing/recording.hpp>

#include <support/guest_ram.hpp>
#include <support/must.hpp>
#include <support/passthrough.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace runtime_discard_virtio_mem {

using namespace tether;
using tether_test::must;

namespace {

constexpr std::uint64_t block_bytes = 64 * KiB;
constexpr std::uint16_t blocks = 32;
constexpr guest_address at{1 * GiB};

constexpr std::uint16_t plug = 0, unplug = 1, unplug_all = 2, ask_state = 3;
constexpr std::uint16_t plugged = 0, unplugged = 1, mixed = 2;

struct answer {
  virtio_mem_outcome outcome;
  std::uint16_t code = 0xffff;
  std::uint16_t state = 0xffff;
};

/// A guest with a virtio-mem device of 2 MiB.
struct small_guest {
  ram_block ram = must(ram_block::allocate("hotplug", blocks* block_bytes, memory_kind::shared));
  address_space guest;
  discard_gate<> gate;
  std::unique_ptr<virtio_mem<>> device;

  small_guest() {
    must(divide(ram, block_bytes));
    tether_test::mark_all(ram);
    static_cast<void>(must(guest.place(region::ram(ram), at)));
    device = must(virtio_mem<>::create("virtio-mem", ram, at, gate));
  }
  answer send(std::uint16_t type, std::uint64_t address, std::uint16_t count) const {
    std::array<std::byte, 24> request{};
    request.fill(std::byte{0x5a});  // padding, which a device must ignore
    const auto put = [&](std::size_t where, std::uint64_t value, std::size_t bytes) {
      for (std::size_t i = 0; i < bytes; ++i) request[where + i] = std::byte(value >> (8 * i));
    };
    put(0, type, 2);
    put(8, address, 8);
    put(16, count, 2);
    std::array<std::byte, 10> response{};
    answer told{.outcome = device->handle(request, response)};
    told.code = static_cast<std::uint16_t>(std::to_integer<unsigned>(response[0]) |
                                           std::to_integer<unsigned>(response[1]) << 8U);
    told.state = static_cast<std::uint16_t>(std::to_integer<unsigned>(response[8]) |
                                            std::to_integer<unsigned>(response[9]) << 8U);
    return told;
  }
  [[nodiscard]] std::uint16_t code(std::uint16_t type, std::uint64_t block,
                                   std::uint16_t count) const {
    const auto told = send(type, at.value + block * block_bytes, count);
    CHECK(told.outcome.written == 10);
    CHECK(told.code == static_cast<std::uint16_t>(told.outcome.response));
    return told.code;
  }
};

constexpr std::uint16_t ack = 0, nack = 1, busy = 2, error_code = 3;

}  // namespace

TEST_CASE("a device's memory is divided, begins and ends with units, and so does its region") {
  const auto file = static_cast<int>(linux_kernel::memfd_create("file", 0));
  REQUIRE(linux_kernel::ftruncate(file, 4 * block_bytes) == 0);
  {
    const auto part = [file](std::uint64_t first, std::uint64_t size) {
      return must(ram_block::from_descriptor("part", file, first, size));
    };
    const auto whole = part(0, 4 * block_bytes);
    discard_gate<> gate;
    const auto refusal = [&gate](ram_block const& block, guest_address region) {
      auto made = virtio_mem<multi_threaded>::create("mem", block, region, gate);
      return made ? std::error_code{} : made.error().code();
    };
    CHECK(refusal(whole, at) == errc::unsupported);
    must(divide(whole, block_bytes));
    CHECK(refusal(part(block_bytes / 2, block_bytes), at) == errc::not_aligned);
    CHECK(refusal(part(block_bytes, block_bytes / 2), at) == errc::not_aligned);
    CHECK(refusal(part(block_bytes, block_bytes), at + block_bytes / 2) == errc::not_aligned);
    CHECK(whole.backing().population()->discarded_bytes() == 0);
    CHECK(gate.counts() == gate_counts{});
    CHECK(refusal(part(block_bytes, block_bytes), at) == std::error_code{});
    // only its own blocks are gone
    CHECK(whole.backing().population()->discarded_bytes() == block_bytes);
    CHECK_FALSE(whole.backing().population()->is_populated(1));
  }
  ::close(file);
}

TEST_CASE("the configuration is what the specification lays out, little-endian") {
  const small_guest vm;
  virtio_mem<>& device = *vm.device;
  static_cast<void>(must(device.request_size(2 * block_bytes)));
  CHECK(device.request_size((blocks + 1) * block_bytes).error().is(errc::past_the_end));
  CHECK(device.request_size(block_bytes / 2).error().is(errc::not_aligned));
  CHECK(vm.code(plug, 3, 1) == ack);
  const auto wire = device.config_space(0x0102);
  const auto number = [&wire](std::size_t first, std::size_t bytes) {
    std::uint64_t value = 0;
    for (std::size_t i = bytes; i-- > 0;)
      value = value << 8 | std::to_integer<std::uint64_t>(wire[first + i]);
    return value;
  };
  CHECK(number(0, 8) == block_bytes);
  CHECK(number(8, 2) == 0x0102);
  CHECK(number(10, 6) == 0);
  CHECK(number(16, 8) == at.value);
  CHECK(number(24, 8) == blocks * block_bytes);
  CHECK(number(32, 8) == blocks * block_bytes);
  CHECK(number(40, 8) == block_bytes);
  CHECK(number(48, 8) == 2 * block_bytes);
}

TEST_CASE("everything is unplugged and discarded at first") {
  small_guest vm;
  CHECK(vm.device->config() == virtio_mem_config{.block_size = block_bytes,
                                                 .first = at,
                                                 .region_size = blocks * block_bytes,
                                                 .usable_size = blocks * block_bytes});
  CHECK(tether_test::count(vm.ram).gone == blocks * block_bytes / (4 * KiB));
  CHECK(vm.send(ask_state, at.value, blocks).state == unplugged);
}

TEST_CASE("plug and unplug, within what is requested") {
  small_guest vm;
  CHECK(vm.code(plug, 0, 1) == nack);  // nothing is requested
  CHECK(must(vm.device->request_size(8 * block_bytes)));
  CHECK_FALSE(must(vm.device->request_size(8 * block_bytes)));
  CHECK(vm.code(plug, 2, 3) == ack);
  CHECK(vm.device->config().plugged_size == 3 * block_bytes);
  CHECK(vm.code(plug, 10, 5) == ack);
  CHECK(vm.code(plug, 20, 1) == nack);
  CHECK(vm.code(plug, 2, 1) == nack);  // over the size comes first
  CHECK(must(vm.device->request_size(9 * block_bytes)));
  CHECK(vm.code(plug, 2, 1) == error_code);    // plugged already
  CHECK(vm.code(unplug, 1, 2) == error_code);  // one of them is not plugged
  CHECK(vm.code(unplug, 2, 3) == ack);
  CHECK(vm.code(unplug, 2, 1) == error_code);
  CHECK(vm.device->config().plugged_size == 5 * block_bytes);
  CHECK(vm.send(ask_state, at.value + 10 * block_bytes, 5).state == plugged);
  CHECK(vm.send(ask_state, at.value + 9 * block_bytes, 2).state == mixed);
  CHECK(vm.code(unplug_all, 0, 0) == ack);
  CHECK(vm.code(unplug_all, 0, 0) == ack);
  CHECK(vm.device->config().plugged_size == 0);
  CHECK(must(vm.device->request_size(0)));
}

TEST_CASE("requests that no driver may make change nothing") {
  small_guest vm;
  static_cast<void>(must(vm.device->request_size(blocks * block_bytes)));
  CHECK(vm.code(plug, 4, 4) == ack);
  const auto before = vm.device->config();
  for (const std::uint16_t type : {plug, unplug, ask_state}) {
    CAPTURE(type);
    CHECK(vm.code(type, 0, 0) == error_code);
    CHECK(vm.code(type, blocks, 1) == error_code);
    CHECK(vm.code(type, blocks - 1, 2) == error_code);
    CHECK(vm.code(type, 0, 0xffff) == error_code);
    CHECK(vm.send(type, at.value + 1, 1).code == error_code);
    CHECK(vm.send(type, at.value - block_bytes, 1).code == error_code);
    CHECK(vm.send(type, 0, 1).code == error_code);
    CHECK(vm.send(type, ~std::uint64_t{0}, 1).code == error_code);
    CHECK(vm.send(type, ~std::uint64_t{0} - block_bytes + 1, 2).code == error_code);
  }
  // no request at all: the device is broken, and says so
  CHECK(vm.send(4, at.value, 1).outcome.broken());
  std::array<std::byte, 24> request{};
  std::array<std::byte, 10> response{};
  CHECK(vm.device->handle(std::span{request}.first(23), response).broken());
  CHECK(vm.device->handle(request, std::span{response}.first(9)).broken());
  CHECK(vm.device->config() == before);
}

TEST_CASE("while it lives, nobody may forbid its discards") {
  small_guest vm;
  auto held = vm.gate.hold(hold_kind::any, "nic");
  REQUIRE_FALSE(held.has_value());
  CHECK(held.error().is(errc::discards_required));
  CHECK(held.error().blocker() == "virtio-mem");
  vm.device.reset();
  held = vm.gate.hold(hold_kind::any, "nic");
  REQUIRE(held.has_value());
  const auto late = virtio_mem<>::create("virtio-mem", vm.ram, at, vm.gate);
  REQUIRE_FALSE(late.has_value());
  CHECK(late.error().is(errc::discards_disabled));
  CHECK(late.error().blocker() == "nic");
}

TEST_CASE("while discards are suspended it is busy") {
  small_guest vm;
  static_cast<void>(must(vm.device->request_size(blocks * block_bytes)));
  CHECK(vm.code(plug, 0, 2) == ack);
  {
    const auto migrating = vm.gate.suspend("migration");
    CHECK(vm.code(plug, 4, 1) == busy);
    CHECK(vm.code(unplug, 0, 2) == busy);
    CHECK(vm.code(unplug_all, 0, 0) == busy);
    CHECK(vm.send(ask_state, at.value, 2).state == plugged);
    CHECK_FALSE(vm.device->reset_system().has_value());
  }
  CHECK(vm.code(unplug, 0, 2) == ack);
}

TEST_CASE("a block that a container cannot map leaves those before it unplugged as well") {
  small_guest vm;
  static_cast<void>(must(vm.device->request_size(blocks * block_bytes)));
  auto backend = tether_test::on_software::make();
  journal calls;
  container<recording<software_iommu>, fixed_block<block_bytes>> dma{
      vm.guest, vm.gate, recording<software_iommu>{calls, std::move(*backend)}};
  auto group = must(dma.attach(tether_test::pinning_group()));
  calls.fail_at(3, error{"injected", errc::memory_gone});
  CHECK(vm.code(plug, 0, 4) == busy);
  CHECK(vm.send(ask_state, at.value, 4).state == unplugged);
  CHECK(dma.usage().bytes == 0);
  CHECK(vm.code(plug, 0, 4) == ack);
  CHECK(dma.usage().bytes == 4 * block_bytes);
  must(group.detach());
}

TEST_CASE("an attached device sees what is plugged, and nothing else") {
  small_guest vm;
  static_cast<void>(must(vm.device->request_size(blocks * block_bytes)));
  auto backend = tether_test::on_software::make();
  container<software_iommu, fixed_block<block_bytes>> dma{vm.guest, vm.gate, std::move(*backend)};
  auto group = must(dma.attach(tether_test::pinning_group()));
  auto nic = must(group.open("nic"));
  CHECK(dma.usage() == mapped_usage{.discarded = blocks * block_bytes});
  CHECK(vm.code(plug, 3, 2) == ack);
  std::array<std::byte, 8> some{};
  CHECK(nic->dma_read(io_address{at.value + 3 * block_bytes}, some).has_value());
  CHECK_FALSE(nic->dma_read(io_address{at.value + 5 * block_bytes}, some).has_value());
  CHECK(vm.code(unplug, 3, 1) == ack);
  CHECK_FALSE(nic->dma_read(io_address{at.value + 3 * block_bytes}, some).has_value());
  CHECK(dma.usage().bytes == block_bytes);
}

}  // namespace runtime_discard_virtio_mem
