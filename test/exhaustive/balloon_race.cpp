// SPDX-License-Identifier: BSL-1.0
// A real balloon on one thread, attach and detach with real pins on another, changes of the memory
// map on a third: never a byte that device and CPU see differently.
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/discard/balloon.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/inhibit/policies.hpp>

#include <support/must.hpp>
#include <support/passthrough.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <thread>
#include <vector>

namespace exhaustive_balloon_race {

using namespace tether;
using tether_test::must;

namespace {

constexpr std::uint64_t pages = 32;
constexpr std::uint64_t page = 4 * KiB;

endpoint_group const nics{"nics", {{"nic", pin_class::pins}}};
endpoint_group const vgpus{"vgpus", {{"vgpu", pin_class::pins_on_demand}}};

/// Gives pages to the host and takes them back, all the time. It never touches what a device may be
/// writing.
class balloon_thread {
 public:
  balloon_thread(address_space const& guest, discard_gate<>& gate)
      : thread_{[this, &guest, &gate] {
          balloon inflator{guest, gate};
          std::vector<std::uint32_t> frames;
          for (std::uint32_t i = 0; i < pages; ++i) frames.push_back(i);
          while (!finished_.load(std::memory_order_relaxed)) {
            const auto report = inflator.inflate(frames);
            discarded_.fetch_add(report.discarded, std::memory_order_relaxed);
            inhibited_.fetch_add(report.inhibited, std::memory_order_relaxed);
            std::this_thread::yield();
          }
        }} {}
  ~balloon_thread() { end(); }
  balloon_thread(balloon_thread const&) = delete;
  balloon_thread& operator=(balloon_thread const&) = delete;
  void end() {
    finished_ = true;
    if (thread_.joinable()) thread_.join();
  }
  [[nodiscard]] std::uint64_t discarded() const { return discarded_.load(); }
  [[nodiscard]] std::uint64_t inhibited() const { return inhibited_.load(); }

 private:
  std::atomic<bool> finished_{false};
  std::atomic<std::uint64_t> discarded_{0};
  std::atomic<std::uint64_t> inhibited_{0};
  std::thread thread_;
};

/// The device writes every page, the CPU reads it; the CPU writes every page, the device reads it.
/// Answers the pages that differ.
template <class Device>
std::uint64_t stale_pages(Device& device, std::byte* memory, std::uint8_t round) {
  std::uint64_t stale = 0;
  for (std::uint64_t i = 0; i < pages; ++i) {
    const std::vector<std::byte> sent(64, static_cast<std::byte>(round + i));
    if (!device.dma_write(io_address{i * page}, sent)) return pages;
    stale += std::memcmp(memory + i * page, sent.data(), sent.size()) != 0 ? 1U : 0U;
    std::memset(memory + i * page, static_cast<int>((round + i + 7) & 0xff), 64);
    std::vector<std::byte> got(64);
    if (!device.dma_read(io_address{i * page}, got)) return pages;
    stale += std::memcmp(memory + i * page, got.data(), got.size()) != 0 ? 1U : 0U;
  }
  return stale;
}

template <class... Policies>
void race(int rounds) {
  auto backend = io_uring_buffers::open({.slots = 64});
  if (!backend) return tether_test::skip_because(backend.error().sentence());
  if (tether_test::unpins_slowly()) rounds = 5;
  ram_block ram = must(ram_block::allocate("ram", pages * page));
  address_space guest;
  discard_gate<> gate;
  const auto at = must(guest.place(region::ram(ram), guest_address{0}));
  std::uint64_t stale = 0;
  {
    container<io_uring_buffers, Policies...> dma{guest, gate, std::move(*backend)};
    balloon_thread inflating{guest, gate};
    while (inflating.discarded() == 0) std::this_thread::yield();
    for (int round = 0; round < rounds; ++round) {
      std::optional<attached_group<container<io_uring_buffers, Policies...>>> mediated;
      if (round % 3 == 2) {
        // A mediated group that needs no hold first: the balloon works beside it, then the pinning group
        // joins.
        mediated.emplace(must(dma.attach(vgpus)));
        static_cast<void>(must(mediated->open("vgpu", agrees_to_discards)));
        const auto before = inflating.discarded();
        while (inflating.discarded() == before) std::this_thread::yield();
      }
      auto group = must(dma.attach(nics));
      auto nic = must(group.open("nic"));
      stale += stale_pages(*nic, ram.data(), static_cast<std::uint8_t>(round));
      const auto before = inflating.inhibited();
      while (inflating.inhibited() == before) std::this_thread::yield();  // it has tried
      stale += stale_pages(*nic, ram.data(), static_cast<std::uint8_t>(round + 100));
      must(group.detach());
      if (mediated) must(mediated->detach());
    }
    inflating.end();
    CHECK(inflating.inhibited() != 0);
  }
  CHECK(stale == 0);
  CHECK(gate.counts() == gate_counts{});
  must(guest.remove(at));
}

}  // namespace

TEST_CASE(
    "a balloon that races attach and detach never leaves a stale byte, per group and by whole "
    "sections") {
  race<inhibit_per_group>(300);
}
TEST_CASE(
    "a balloon that races attach and detach never leaves a stale byte, per container and by "
    "blocks") {
  race<inhibit_per_container, fixed_block<16 * KiB>>(300);
}
TEST_CASE("a balloon that races attach and detach never leaves a stale byte, per device") {
  race<inhibit_per_device>(300);
}

TEST_CASE(
    "attach, detach, commits of the memory map and a balloon on four threads end with nothing "
    "held, mapped or stale") {
  auto backend = io_uring_buffers::open({.slots = 64});
  if (!backend) return tether_test::skip_because(backend.error().sentence());
  ram_block ram = must(ram_block::allocate("ram", pages * page));
  const int rounds = tether_test::unpins_slowly() ? 4 : 200;
  ram_block more = must(ram_block::allocate("more", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  static_cast<void>(must(guest.place(region::ram(ram), guest_address{0})));
  {
    container<io_uring_buffers> first{guest, gate, std::move(*backend)};
    container<io_uring_buffers, fixed_block<16 * KiB>> second{
        guest, gate, must(io_uring_buffers::open({.slots = 64}))};
    balloon_thread inflating{guest, gate};
    std::atomic<bool> finished{false};
    std::atomic<std::uint64_t> wrong{0};
    std::thread changing{[&] {
      while (!finished.load()) {
        auto id = guest.place(region::ram(more), guest_address{1 * MiB});
        if (!id || !guest.remove(*id)) wrong += 1;
      }
    }};
    std::thread other{[&] {
      for (int i = 0; i < rounds; ++i) {
        auto group = second.attach(vgpus);
        if (!group || !group->open("vgpu", agrees_to_discards) || !group->detach()) wrong += 1;
      }
    }};
    std::uint64_t stale = 0;
    for (int i = 0; i < rounds; ++i) {
      auto group = must(first.attach(nics));
      auto nic = must(group.open("nic"));
      stale += stale_pages(*nic, ram.data(), static_cast<std::uint8_t>(i));
      must(group.detach());
    }
    other.join();
    finished = true;
    changing.join();
    inflating.end();
    CHECK(wrong == 0);
    CHECK(stale == 0);
    CHECK(first.usage() == mapped_usage{});
    CHECK(second.usage() == mapped_usage{});
    CHECK(gate.counts() == gate_counts{});
  }
}

}  // namespace exhaustive_balloon_race
