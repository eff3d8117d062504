// SPDX-License-Identifier: BSL-1.0
// Three sources discard and populate units while two containers attach, use what is there, and
// detach, each on a thread of its own. What a guest was told is there must be the same memory for
// the CPU and for every device, at every moment. The thread sanitizer watches (preset `tsan`).
#include <tether/attach/container.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/unit_source.hpp>

#include <support/amount.hpp>
#include <support/must.hpp>
#include <support/passthrough.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace exhaustive_units_under_threads {

using namespace tether;
using tether_test::must;
using tether_test::on_io_uring;
using tether_test::on_software;

namespace {

constexpr std::uint64_t unit = 64 * KiB;
constexpr std::uint64_t units = 12;
constexpr std::size_t sources = 3;
/// These are one source's each, so its guest knows when they are there; all sources fight over the
/// rest.
constexpr std::uint64_t owned = 9;
constexpr guest_address ram_at{16 * MiB};

struct guest {
  ram_block ram = must(ram_block::allocate("ram", units* unit));
  address_space space;
  discard_gate<> gate;
  /// Held by who uses an owned unit, and alone by its source while it is not there.
  std::array<std::mutex, owned> in_use;
  std::array<std::atomic<bool>, owned> there{};
  std::atomic<std::uint64_t> discarded{0}, populated{0}, busy{0}, attached{0}, carried{0};
  std::atomic<const char*> wrong{nullptr};

  guest() {
    must(divide(ram, unit));
    static_cast<void>(must(space.place(region::ram(ram), ram_at)));
    for (auto& one : there) one = true;
  }
  [[nodiscard]] population& all() const { return *ram.backing().population(); }
  void demand(bool holds, const char* what) noexcept {
    if (!holds) wrong = what;
  }
};

/// One that may be tried again is, until it succeeds.
template <class Try>
void until_it_succeeds(guest& vm, Try attempt) {
  for (;;) {
    const auto done = attempt();
    if (done) return;
    vm.demand(is_busy(done.error()), "a source is refused although nothing was wrong");
    if (!is_busy(done.error())) return;
    ++vm.busy;
    std::this_thread::yield();
  }
}

void discard_and_populate(guest& vm, std::size_t mine, std::uint64_t rounds) {
  unit_source source{vm.all()};
  std::minstd_rand random{static_cast<unsigned>(tether_test::seed() + mine)};
  const auto permit = [&vm] { return vm.gate.permit(discard_kind::coordinated); };
  const auto discard = [&](std::uint64_t which) {
    until_it_succeeds(vm, [&] {
      const auto allowed = permit();
      return source.discard(which, allowed);
    });
    ++vm.discarded;
  };
  const auto populate = [&](std::uint64_t which) {
    until_it_succeeds(vm, [&] { return source.populate(which, permit); });
    ++vm.populated;
  };
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const std::uint64_t fought_over = owned + random() % (units - owned);
    if (source.wants_gone(fought_over)) populate(fought_over);
    else discard(fought_over);
    const std::uint64_t which = mine + sources * (random() % (owned / sources));
    const std::unique_lock alone{vm.in_use[which]};
    std::byte* const first = vm.ram.data() + which * unit;
    if (vm.there[which]) {
      discard(which);
      vm.there[which] = false;
    } else {
      populate(which);
      vm.demand(first[0] == std::byte{0} && first[unit - 1] == std::byte{0},
                "what was discarded is back with its old contents");
      std::memset(first, static_cast<int>(round % 250 + 1), unit);
      vm.there[which] = true;
    }
  }
  for (std::uint64_t which = 0; which < units; ++which) {
    if (!source.wants_gone(which)) continue;
    if (which >= owned) {
      populate(which);
      continue;
    }
    const std::unique_lock alone{vm.in_use[which]};
    populate(which);
    vm.there[which] = true;
  }
}

/// A device writes where the CPU reads, and the other way round. Returns whether they agree.
template <class Device>
bool agree(guest& vm, Device& device, std::uint64_t which, std::byte mark) {
  const io_address at{ram_at.value + which * unit};
  std::byte* const first = vm.ram.data() + which * unit;
  std::array<std::byte, 64> carried{};
  carried.fill(mark);
  if (!device.dma_write(at, carried) || std::memcmp(first, carried.data(), carried.size()) != 0)
    return false;
  first[0] = static_cast<std::byte>(~mark);
  return device.dma_read(at, carried) && carried[0] == first[0];
}

template <class Where>
using container_of = container<typename Where::backend_type, fixed_block<unit / 2>>;

template <class Where>
void attach_and_detach(guest& vm, container_of<Where>& dma, std::atomic<bool> const& over) {
  std::minstd_rand random{static_cast<unsigned>(tether_test::seed() + 77)};
  while (!over) {
    auto group = dma.attach(tether_test::pinning_group());
    vm.demand(group.has_value(), "an attach failed");
    if (!group) return;
    {
      auto nic = group->open("nic");
      vm.demand(nic.has_value(), "a device cannot be opened");
      for (unsigned use = 0; nic && use < 8; ++use) {
        const std::uint64_t which = random() % owned;
        const std::unique_lock turn{vm.in_use[which], std::try_to_lock};
        if (!turn || !vm.there[which]) continue;
        vm.demand(agree(vm, **nic, which, std::byte(use + 1)),
                  "a device and the CPU see different memory");
        ++vm.carried;
      }
    }
    vm.demand(group->detach().has_value(), "a detach failed");
    ++vm.attached;
    std::this_thread::yield();
  }
}

}  // namespace

TEST_CASE_TEMPLATE("units go and come under attaching containers, from five threads", Where,
                   on_software, on_io_uring) {
  auto first = Where::make();
  auto second = Where::make();
  if (!first) return tether_test::skip_because(first.error().sentence());
  if (!second) return tether_test::skip_because(second.error().sentence());
  guest vm;
  container_of<Where> one{vm.space, vm.gate, std::move(*first)};
  container_of<Where> other{vm.space, vm.gate, std::move(*second)};
  const std::uint64_t rounds = tether_test::amount(6000);
  std::atomic<bool> over{false};
  std::vector<std::thread> attaching;
  attaching.emplace_back([&] { attach_and_detach<Where>(vm, one, over); });
  attaching.emplace_back([&] { attach_and_detach<Where>(vm, other, over); });
  std::vector<std::thread> discarding;
  for (std::size_t mine = 0; mine < sources; ++mine)
    discarding.emplace_back([&, mine] { discard_and_populate(vm, mine, rounds); });
  for (auto& thread : discarding) thread.join();
  over = true;
  for (auto& thread : attaching) thread.join();

  if (vm.wrong != nullptr) FAIL(std::string{vm.wrong.load()});
  CHECK(one.usage() == mapped_usage{});
  CHECK(other.usage() == mapped_usage{});
  CHECK(vm.all().discarded_bytes() == 0);
  auto group = must(one.attach(tether_test::pinning_group()));
  auto nic = must(group.open("nic"));
  CHECK(one.usage() == mapped_usage{.mappings = 2 * units, .bytes = units * unit});
  for (std::uint64_t which = 0; which < units; ++which)
    CHECK(agree(vm, *nic, which, std::byte{0x5a}));
  std::printf(
      "figures: units under threads, %s: %llu discarded, %llu populated, busy %llu times, %llu "
      "attaches, %llu transfers: no stale byte\n",
      Where::name, static_cast<unsigned long long>(vm.discarded),
      static_cast<unsigned long long>(vm.populated), static_cast<unsigned long long>(vm.busy),
      static_cast<unsigned long long>(vm.attached), static_cast<unsigned long long>(vm.carried));
}

}  // namespace exhaustive_units_under_threads
