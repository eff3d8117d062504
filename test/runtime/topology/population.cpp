// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/population.hpp>

#include <tether/topology/address_space.hpp>

#include <support/divided_ram.hpp>
#include <support/failing_allocation.hpp>
#include <support/must.hpp>
#include <support/other_thread.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <fcntl.h>
#include <functional>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

namespace runtime_topology_population {

using namespace tether;
using tether_test::must;

TEST_CASE("a block is divided once, before it is placed, into units that fit") {
  auto ram = must(ram_block::allocate("ram", 1 * MiB));
  CHECK(ram.backing().population() == nullptr);
  for (const std::uint64_t wrong : {std::uint64_t{0}, 3 * 4 * KiB, 2 * KiB, 2 * MiB}) {
    CAPTURE(wrong);
    const auto refused = divide(ram, wrong);
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().is(errc::not_aligned));
    CHECK(refused.error().number() == 4 * KiB);
  }
  {
    address_space guest;
    const auto id = must(guest.place(region::ram(ram), guest_address{0}));
    const error refused = divide(ram, 64 * KiB).error();
    CHECK(refused.is(errc::still_in_use));
    CHECK(refused.blocker() == "ram");
    must(guest.remove(id));
  }
  must(divide(ram, 64 * KiB));
  auto& units = *ram.backing().population();
  CHECK(units.unit_size() == 64 * KiB);
  CHECK(units.units() == 16);
  CHECK(&units.memory() == &ram.backing());
  CHECK(units.discarded_bytes() == 0);
  CHECK(units.extent_of(3) ==
        extent<block_offset>{block_offset{192 * KiB}, block_offset{256 * KiB - 1}});
  CHECK(units.unit_at(block_offset{256 * KiB - 1}) == 3);
  CHECK(units.is_populated(15));
  CHECK(units.covers({block_offset{0}, block_offset{1 * MiB - 1}}));
  CHECK_FALSE(units.covers({block_offset{1 * MiB - 1}, block_offset{1 * MiB}}));
  CHECK(divide(ram, 64 * KiB).error().is(errc::already_there));
}

TEST_CASE("a device's memory is not divided, nor what may only be read") {
  auto memory = must(ram_block::allocate("memory", 64 * KiB));
  const auto bar =
      must(ram_block::borrow("bar", memory.host(), memory.size(), memory_kind::device));
  const error of_device = divide(bar, 64 * KiB).error();
  CHECK(of_device.is(errc::unsupported));
  CHECK(of_device.subject() == "bar");
  const int file = ::memfd_create("file", MFD_CLOEXEC);
  REQUIRE(::ftruncate(file, 64 * KiB) == 0);
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  const int to_read = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  REQUIRE(to_read >= 0);
  const auto rom = must(ram_block::from_descriptor("rom", to_read, 0, 64 * KiB));
  ::close(to_read);
  ::close(file);
  const error of_rom = divide(rom, 64 * KiB).error();
  CHECK(of_rom.is(errc::access_denied));
  CHECK(of_rom.subject() == "rom");
  for (auto const* block : {&bar, &rom}) CHECK(block->backing().population() == nullptr);
}

TEST_CASE("out of memory leaves the block undivided") {
  if (!tether_test::allocations_can_fail) return tether_test::cannot_fail_allocations();
  auto ram = must(ram_block::allocate("ram", 1 * MiB));
  for (std::uint64_t number = 1;; ++number) {
    tether_test::failing_allocation = number;
    const auto done = divide(ram, 4 * KiB);
    tether_test::failing_allocation = 0;
    if (done) break;
    CHECK(done.error().code() == std::errc::not_enough_memory);
    CHECK(ram.backing().population() == nullptr);
    REQUIRE(number < 20);
  }
}

namespace {

struct counted : detail::unit_follower {
  std::atomic<unsigned> unmapped{0};
  std::function<void()> meanwhile;  // while it unmaps
  explicit counted(population const& units);
};
constexpr detail::unit_follower::calls quiet{
    [](detail::unit_follower&) noexcept { return true; }, [](detail::unit_follower&) noexcept {},
    [](detail::unit_follower& one, extent<block_offset>) noexcept -> result<bool> {
      auto& self = static_cast<counted&>(one);
      if (self.meanwhile) self.meanwhile();
      self.unmapped += 1;
      return true;
    },
    [](detail::unit_follower&, extent<block_offset>) noexcept -> result<bool> { return true; },
    [](detail::unit_follower&, error const&) noexcept {}};
counted::counted(population const& units) {
  how = &quiet;
  owner = this;
  where = {block_offset{0}, units.extent_of(units.units() - 1).last};
}

/// Enrols on another thread.
template <class Enrolled>
std::thread begin_to_enrol(population& units, counted& who, counted* near, Enrolled enrolled) {
  return tether_test::begun_and_given_time([&units, &who, near, enrolled] {
    must(units.enrol(who, near, [&] {
      enrolled();
      return result<void>{};
    }));
  });
}

}  // namespace

TEST_CASE("who is enrolled is told, who failed or was withdrawn is not") {
  tether_test::divided_ram vm{16, 64 * KiB};
  auto& units = vm.units_of_it();
  counted mine{units};
  const auto fails = [] { return result<void>{failure(error{"map", errc::over_budget})}; };
  const auto succeeds = [] { return result<void>{}; };
  CHECK_FALSE(units.enrol(mine, nullptr, fails).has_value());
  must(vm.discard(0));
  CHECK(mine.unmapped == 0);
  must(units.enrol(mine, nullptr, succeeds));
  must(vm.discard(1));
  CHECK(mine.unmapped == 1);
  CHECK_FALSE(units.withdraw(mine, fails).has_value());
  must(vm.discard(2));
  CHECK(mine.unmapped == 2);
  CHECK(must(units.withdraw(mine, succeeds)) == nullptr);
  must(vm.discard(3));
  CHECK(mine.unmapped == 2);
}

TEST_CASE("while somebody enrols, units stay as they are: busy") {
  tether_test::divided_ram vm{16, 64 * KiB};
  auto& units = vm.units_of_it();
  counted mine{units};
  must(units.enrol(mine, nullptr, [&]() -> result<void> {
    std::thread{[&] {
      const auto refused = vm.discard(0);
      REQUIRE_FALSE(refused.has_value());
      CHECK(is_busy(refused.error()));
    }}.join();
    CHECK(units.is_populated(0));
    return {};
  }));
  must(vm.discard(0));
  CHECK(mine.unmapped == 1);
}

TEST_CASE("who enrols waits until all have answered that are being told") {
  tether_test::divided_ram vm{16, 64 * KiB};
  auto& units = vm.units_of_it();
  counted first{units};
  counted second{units};
  must(units.enrol(first, nullptr, [] { return result<void>{}; }));
  unsigned answered = 0;
  std::thread enrolling;
  first.meanwhile = [&] {
    enrolling = begin_to_enrol(units, second, &first, [&] { answered = first.unmapped; });
  };
  must(vm.discard(0));
  enrolling.join();
  CHECK(answered == 1);
  first.meanwhile = {};
  must(vm.discard(1));
  CHECK(second.unmapped == 1);
}

TEST_CASE("who enrols waits until another enrolment has ended") {
  const tether_test::divided_ram vm{16, 64 * KiB};
  auto& units = vm.units_of_it();
  counted first{units};
  counted second{units};
  std::atomic<bool> ended{false};
  bool ended_before = false;
  std::thread enrolling;
  must(units.enrol(first, nullptr, [&] {
    enrolling = begin_to_enrol(units, second, nullptr, [&] { ended_before = ended; });
    ended = true;
    return result<void>{};
  }));
  enrolling.join();
  CHECK(ended_before);
}

TEST_CASE("a unit that is kept is not discarded until it was let go as often") {
  tether_test::divided_ram vm{16, 64 * KiB};
  auto& units = vm.units_of_it();
  units.keep(5);
  units.keep(5);
  CHECK(vm.discard(5).error().is(errc::diverged));
  units.let_go(5);
  CHECK(vm.discard(5).error().is(errc::diverged));
  CHECK(units.is_populated(5));
  units.let_go(5);
  must(vm.discard(5));
  CHECK_FALSE(units.is_populated(5));
}

}  // namespace runtime_topology_population
