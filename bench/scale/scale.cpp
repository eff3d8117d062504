// SPDX-License-Identifier: BSL-1.0
// A virtual machine as large as they come: 12 TiB, a million sections (65,534 of memory, which is
// what type1 maps less one that is plugged and unplugged; the rest registers), 16 containers, 64
// devices, 10,000 hot-plugs. Says what each stage takes, and what breaks first.
#include <scale/yes_iommu.hpp>

#include <tether/attach/container.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <string>
#include <sys/mman.h>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using passthrough = tether::container<scale::yes_iommu>;

constexpr std::uint64_t section_size = 192 * tether::MiB;
constexpr std::uint64_t of_memory = scale::yes_iommu::budget - 1;
constexpr std::uint64_t all_sections = 1'000'000;
constexpr std::uint64_t memory_size = (of_memory + 2) * section_size;  // 12 TiB and one to spare
constexpr unsigned container_count = 16;
constexpr unsigned devices_each = 4;
constexpr unsigned hot_plugs = 10'000;

template <class T>
T must(tether::result<T> answer) {
  if (!answer) {
    std::printf("broken: %s\n", answer.error().sentence().c_str());
    std::exit(EXIT_FAILURE);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*answer);
}

std::uint64_t resident_mib() {
  std::ifstream lines{"/proc/self/status"};
  for (std::string word; lines >> word;) {
    std::uint64_t kib = 0;
    if (word == "VmRSS:" && lines >> kib) return kib / 1024;
  }
  return 0;
}

template <class Work>
void stage(char const* what, std::uint64_t count, Work work) {
  const auto begun = std::chrono::steady_clock::now();
  work();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  std::printf("| %-44s | %9.3f | %9.2f | %6ju |\n", what, took.count(),
              took.count() * 1e6 / static_cast<double>(count), std::uintmax_t{resident_mib()});
  std::fflush(stdout);
}

/// Addresses for 12 TiB, and no memory behind them.
tether::ram_block addresses_only() {
  void* const at = ::mmap(nullptr, memory_size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) {
    std::perror("12 TiB of addresses");
    std::exit(EXIT_FAILURE);
  }
  const tether::host_address host{reinterpret_cast<std::uintptr_t>(at)};
  return must(
      tether::ram_block::borrow("ram", host, memory_size, tether::memory_kind::private_anonymous));
}

/// Memory section i, a page behind the one before it, so that they do not merge.
tether::guest_address place_of(std::uint64_t i) {
  return tether::guest_address{i * (section_size + 2 * tether::MiB)};
}
tether::region memory(tether::ram_block& ram, std::uint64_t i) {
  return tether::region::ram(ram, tether::block_offset{i * section_size}, section_size);
}

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  auto ram = addresses_only();
  tether::address_space guest;
  tether::discard_gate<> gate;
  std::deque<passthrough> containers;
  std::vector<passthrough::attached> groups;

  std::printf("| %-44s | %9s | %9s | %6s |\n", "stage", "s", "us each", "MiB");
  std::puts("|----------------------------------------------|-----------|-----------|--------|");
  stage("place 1,000,000 sections in one commit", all_sections, [&] {
    auto change = guest.begin();
    for (std::uint64_t i = 0; i != of_memory; ++i)
      static_cast<void>(must(change.place(memory(ram, i), place_of(i))));
    const auto registers = place_of(of_memory + 4);
    for (std::uint64_t i = 0; i != all_sections - of_memory; ++i)
      static_cast<void>(must(change.place(tether::region::mmio("registers", 4 * tether::KiB),
                                          registers + 8 * tether::KiB * i)));
    static_cast<void>(must(change.commit()));
  });
  stage("attach 16 containers, 64 groups", std::uint64_t{container_count} * of_memory, [&] {
    for (unsigned i = 0; i != container_count; ++i) {
      containers.emplace_back(guest, gate);
      for (unsigned each = 0; each != devices_each; ++each)
        groups.push_back(must(containers.back().attach(
            scale::group{"group " + std::to_string(i * devices_each + each)})));
    }
  });
  stage("open and close 64 devices", groups.size(), [&] {
    for (auto& one : groups) {
      auto device = must(one.open("device"));
      must(device.close());
    }
  });
  stage("10,000 hot-plugs, each followed by all", hot_plugs, [&] {
    for (unsigned i = 0; i != hot_plugs; ++i) {
      const auto id = must(guest.place(memory(ram, of_memory), place_of(of_memory)));
      must(guest.remove(id));
    }
  });
  stage("look up 1,000,000 addresses", all_sections, [&] {
    const auto view = guest.view();
    std::uint64_t found = 0;
    for (std::uint64_t i = 0; i != all_sections; ++i)
      found += view->find(place_of(i * 48'271 % of_memory)) != nullptr ? 1U : 0U;
    if (found != all_sections) std::puts("broken: a section was not found");
  });

  // what breaks first: the budget of mappings, at once and by name
  const auto last = must(guest.place(memory(ram, of_memory), place_of(of_memory)));
  const auto refused = guest.place(memory(ram, of_memory + 1), place_of(of_memory + 1));
  const std::string first_to_break =
      refused ? "nothing" : std::string{refused.error().sentence().c_str()};
  must(guest.remove(last));

  stage("detach 16 containers, 64 groups", std::uint64_t{container_count} * of_memory, [&] {
    for (auto& one : groups) must(one.detach());
    containers.clear();
  });
  std::printf("\nbreaks first: %s\n", first_to_break.c_str());
}
