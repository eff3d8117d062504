// SPDX-License-Identifier: BSL-1.0
// Balloons look memory up on several threads while the map changes and containers come and go. For
// the thread sanitizer above all; each reader also checks that what it holds does not change under
// it.
#include <tether/topology/address_space.hpp>

#include <support/listener_recorder.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace scenario_readers_and_writers {

using namespace tether;
using tether_test::listener_recorder;
using tether_test::must;

TEST_CASE("readers, writers and registrations of several threads never see half a change") {
  constexpr std::uint64_t part = 4096;
  auto block = must(ram_block::allocate("ram", 16 * part));
  address_space guest;
  std::atomic<int> writers{2};
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> looks{0};

  // Each writer moves a pair of regions together: whoever sees one sees the other beside it.
  const auto writer = [&](std::uint64_t which) {
    const std::uint64_t base = which * 16 * MiB;
    region_id left;
    region_id right;
    {
      auto first = guest.begin();
      left =
          first.place(region::ram(block, block_offset{which * 4 * part}, part), guest_address{base})
              .value();
      right = first.place(region::mmio("right", part), guest_address{base + part}).value();
      if (!first.commit()) ++wrong;
    }
    for (std::uint64_t i = 1; i <= 300; ++i) {
      const guest_address to{base + (i % 7) * 16 * part};
      auto pair = guest.begin();
      if (!pair.move(left, to) || !pair.move(right, to + part)) ++wrong;
      if (i % 5 != 0 && !pair.commit()) ++wrong;
    }
    auto last = guest.begin();
    if (!last.remove(left) || !last.remove(right) || !last.commit()) ++wrong;
    --writers;
  };
  const auto reader = [&] {
    do {
      const auto view = guest.view();
      std::size_t rams = 0;
      std::size_t registers = 0;
      for (auto const& one : view.sections()) {
        (one.memory != nullptr ? rams : registers) += 1;
        if (one.memory == nullptr) continue;
        if (one.memory->references() == 0) ++wrong;
        auto* const beside = view.find(one.where.last + 1);
        if (beside == nullptr || beside->name != "right") ++wrong;
        if (view.find(one.where.first) != &one) ++wrong;
      }
      if (rams != registers) ++wrong;
      ++looks;
    } while (writers != 0);
  };
  const auto container = [&] {
    do {
      listener_recorder listener;
      if (!guest.add_listener(listener)) ++wrong;
      if (!guest.remove_listener(listener)) ++wrong;
      if (!listener.mapped().empty() || !listener.breaches.empty()) ++wrong;
    } while (writers != 0);
  };

  listener_recorder steady;
  must(guest.add_listener(steady));
  std::vector<std::thread> threads;
  threads.emplace_back(reader);
  threads.emplace_back(reader);
  threads.emplace_back(container);
  threads.emplace_back(writer, 0);
  threads.emplace_back(writer, 1);
  for (auto& one : threads) one.join();

  CHECK(wrong == 0);
  CHECK(looks >= 2);
  CHECK(guest.view()->empty());
  CHECK(steady.mapped().empty());
  CHECK(steady.breaches.empty());
  must(guest.remove_listener(steady));
  must(block.free());
}

TEST_CASE("a commit does not wait for a reader") {
  address_space guest;
  const auto id = must(guest.place(region::mmio("a", 16), guest_address{0}));
  const auto reader = guest.view();  // stays all the time
  must(guest.remove(id));
  std::thread{[&] {
    static_cast<void>(guest.place(region::mmio("b", 16), guest_address{0}));
  }}.join();
  CHECK(guest.view()->find(guest_address{0})->name == "b");
  CHECK(reader.find(guest_address{0})->name == "a");
}

TEST_CASE("a reader does not wait for a commit") {
  address_space guest;
  listener_recorder slow;
  slow.context = &guest;
  slow.on_commit = [](listener_recorder& who) {
    auto& it = *static_cast<address_space*>(who.context);
    std::thread{[&] {
      who.breaches.push_back(it.view()->empty() ? "" : "the change was seen too early");
    }}.join();
  };
  must(guest.add_listener(slow));
  CHECK_FALSE(must(guest.place(region::mmio("a", 16), guest_address{0})) == region_id{});
  CHECK(slow.breaches == std::vector<std::string>{""});
  slow.on_commit = nullptr;
  must(guest.remove_listener(slow));
}

}  // namespace scenario_readers_and_writers
