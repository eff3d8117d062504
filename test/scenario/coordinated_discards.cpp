// SPDX-License-Identifier: BSL-1.0
// Memory goes back to the host while devices are attached: its units are unmapped in every
// container before they are discarded, and mapped again before anybody is told that they are back.
#include <tether/attach/container.hpp>
#include <tether/discard/balloon.hpp>
#include <tether/discard/frames.hpp>
#include <tether/discard/page_reporting.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/testing/recording.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/unit_source.hpp>

#include <support/amount.hpp>
#include <support/divided_ram.hpp>
#include <support/guest_ram.hpp>
#include <support/must.hpp>
#include <support/passthrough.hpp>
#include <support/pinned_memory.hpp>
#include <support/roomy_kernel.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace scenario_coordinated_discards {

using namespace tether;
using tether_test::must;
using tether_test::on_io_uring;
using tether_test::on_software;

namespace {

constexpr std::uint64_t unit = 256 * KiB;
constexpr std::uint64_t units = 16;
constexpr guest_address ram_at{16 * MiB};

template <class Where, std::uint64_t Block = 64 * KiB, class... Policies>
using container_of = container<typename Where::backend_type, fixed_block<Block>, Policies...>;

/// A guest whose memory is divided, with a source of discards.
struct divided_guest : tether_test::divided_ram {
  address_space guest;

  divided_guest() : divided_ram{units, unit} {
    static_cast<void>(must(guest.place(region::ram(ram), ram_at)));
    tether_test::mark_all(ram);
  }
};

[[nodiscard]] io_address io_of(std::uint64_t which, std::uint64_t offset = 0) {
  return io_address{ram_at.value + which * unit + offset};
}

/// The device writes, the CPU must read it, and the other way round.
template <class Device>
[[nodiscard]] bool agree(divided_guest const& with, Device& device, std::uint64_t which) {
  std::array<std::byte, 64> carried{};
  carried.fill(std::byte(which + 1));
  if (!device.dma_write(io_of(which, 8192), carried)) return false;
  if (std::memcmp(with.ram.data() + which * unit + 8192, carried.data(), carried.size()) != 0)
    return false;
  with.ram.data()[which * unit + 8192] = std::byte{0xee};
  if (!device.dma_read(io_of(which, 8192), carried)) return false;
  return carried[0] == std::byte{0xee};
}

}  // namespace

TEST_CASE_TEMPLATE("units leave the host while a device is attached, and come back coherent", Where,
                   on_io_uring, on_software) {
  auto backend = Where::make();
  if (!backend) return tether_test::skip_because(backend.error().sentence());
  divided_guest vm;
  container_of<Where> dma{vm.guest, vm.gate, std::move(*backend)};
  auto group = must(dma.attach(tether_test::pinning_group()));
  auto nic = must(group.open("nic"));
  const auto full = dma.usage();
  CHECK(full == mapped_usage{.mappings = units * unit / (64 * KiB), .bytes = units * unit});

  for (std::uint64_t which = 0; which < units; which += 2) REQUIRE(vm.discard(which).has_value());
  CHECK(dma.usage() == mapped_usage{.mappings = full.mappings / 2,
                                    .bytes = full.bytes / 2,
                                    .discarded = full.bytes / 2});
  CHECK(vm.resident_bytes() == full.bytes / 2);
  CHECK(vm.ram.backing().population()->discarded_bytes() == full.bytes / 2);
  std::array<std::byte, 16> some{};
  for (std::uint64_t which = 0; which < units; ++which) {
    if (which % 2 == 0) CHECK_FALSE(nic->dma_read(io_of(which), some).has_value());
    else CHECK(agree(vm, *nic, which));
  }

  for (std::uint64_t which = 0; which < units; which += 2) REQUIRE(vm.populate(which).has_value());
  CHECK(dma.usage() == full);
  for (std::uint64_t which = 0; which < units; ++which) CHECK(agree(vm, *nic, which));
}

TEST_CASE_TEMPLATE("who attaches while units are discarded leaves them unmapped, and follows them",
                   Where, on_io_uring, on_software) {
  auto backend = Where::make();
  if (!backend) return tether_test::skip_because(backend.error().sentence());
  divided_guest vm;
  REQUIRE(vm.discard(3).has_value());
  REQUIRE(vm.discard(4).has_value());
  container_of<Where> dma{vm.guest, vm.gate, std::move(*backend)};
  auto group = must(dma.attach(tether_test::pinning_group()));
  auto nic = must(group.open("nic"));
  CHECK(dma.usage().discarded == 2 * unit);
  CHECK(vm.resident_bytes() == (units - 2) * unit);
  REQUIRE(vm.populate(4).has_value());
  CHECK(dma.usage().discarded == unit);
  CHECK(agree(vm, *nic, 4));

  // and is told of nothing once it has detached
  must(group.detach());
  CHECK(dma.usage() == mapped_usage{});
  REQUIRE(vm.populate(3).has_value());
  CHECK(dma.usage() == mapped_usage{});
}

namespace {

constexpr std::uint32_t first_frame = 16 * MiB / (4 * KiB);
constexpr std::uint32_t frames_per_unit = unit / (4 * KiB);

/// The same guest with a balloon that has promised to tell.
struct ballooned_guest {
  ram_block ram = must(ram_block::allocate("ram", units* unit));
  address_space guest;
  discard_gate<> gate;
  std::optional<balloon<>> device;

  ballooned_guest() {
    must(divide(ram, unit));
    static_cast<void>(must(guest.place(region::ram(ram), ram_at)));
    tether_test::mark_all(ram);
    device.emplace(guest, gate, balloon_options{.must_tell_host = true});
  }
  [[nodiscard]] population& population_of() const { return *ram.backing().population(); }
  discard_report inflate(std::uint32_t first, std::uint32_t count) {
    auto told = device->inflate(tether_test::frames_down(first_frame + first, count));
    CHECK(told.adds_up());
    return told;
  }
  discard_report deflate(std::uint32_t first, std::uint32_t count) {
    auto told = device->deflate(tether_test::frames_up(first_frame + first, count));
    CHECK(told.adds_up());
    return told;
  }
};

}  // namespace

TEST_CASE_TEMPLATE("a balloon's units go while a device is attached", Where, on_io_uring,
                   on_software) {
  auto backend = Where::make();
  if (!backend) return tether_test::skip_because(backend.error().sentence());
  constexpr bool pins = Where::backend_type::pins;
  ballooned_guest vm;
  container_of<Where> dma{vm.guest, vm.gate, std::move(*backend)};
  auto group = must(dma.attach(tether_test::pinning_group()));
  auto nic = must(group.open("nic"));

  // all but one frame of a unit: they wait, or go one by one where nobody pins
  auto told = vm.inflate(1, frames_per_unit - 1);
  CHECK(told.units_discarded == 0);
  CHECK((pins ? told.waiting : told.discarded) == frames_per_unit - 1);
  CHECK(dma.usage().discarded == 0);
  told = vm.inflate(0, 1);
  CHECK(told.units_discarded == 1);
  CHECK(told.discarded == 1);
  CHECK(dma.usage().discarded == unit);
  CHECK(tether_test::went(vm.ram, 0));

  // deflated, it is mapped again before the answer
  told = vm.deflate(3, 1);
  CHECK(told.returned == 1);
  CHECK(told.units_populated == 1);
  CHECK(dma.usage().discarded == 0);
  std::array<std::byte, 8> carried{std::byte{1}, std::byte{2}};
  REQUIRE(nic->dma_write(io_address{ram_at.value + 3 * 4096}, carried).has_value());
  CHECK(std::memcmp(vm.ram.data() + 3 * 4096, carried.data(), carried.size()) == 0);

  // one request for everything: the incomplete unit is complete again
  told = vm.inflate(0, units * frames_per_unit);
  CHECK(told.discarded == units * frames_per_unit);
  CHECK(told.units_discarded == units);
  CHECK(dma.usage() == mapped_usage{.discarded = units * unit});
  told = vm.device->reset();
  CHECK(told.units_populated == units);
  CHECK(dma.usage().bytes == units * unit);
}

namespace {

/// A guest with two containers, whose calls are recorded and can be made to fail.
struct two_containers : divided_guest {
  using container_type = container<recording<software_iommu>, fixed_block<64 * KiB>>;

  journal of_first;
  journal of_second;
  container_type first{guest, gate, recording<software_iommu>{of_first}};
  container_type second{guest, gate, recording<software_iommu>{of_second}};

  two_containers() {
    static_cast<void>(must(first.attach(tether_test::pinning_group("first group"))));
    static_cast<void>(must(second.attach(tether_test::pinning_group("second group"))));
  }
  /// Fails the `number`th call of that kind from now on.
  static void fail(journal& of, backend_call what, std::uint64_t number, bool stuck = false) {
    const error why{"map", errc::over_budget};
    of.fail_at(what, number, stuck ? why.with_failed_rollback() : why);
  }
};

}  // namespace

TEST_CASE("a unit that one container cannot unmap stays in all of them") {
  for (const bool in_second : {false, true}) {
    CAPTURE(in_second);
    two_containers vm;
    const auto before = vm.first.usage();
    two_containers::fail(in_second ? vm.of_second : vm.of_first, backend_call::unmap, 1);
    const auto done = vm.discard(5);
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().container() == (in_second ? "second group" : "first group"));
    CHECK(vm.populated(5));
    CHECK_FALSE(tether_test::went(vm.ram, 5 * unit));
    CHECK(vm.first.usage() == before);
    CHECK(vm.second.usage() == before);
    CHECK_FALSE(vm.first.diverged());
    CHECK_FALSE(vm.second.diverged());
    CHECK(vm.discard(5).has_value());
  }
}

TEST_CASE("a unit that one container cannot map is discarded again, and stays wanted gone") {
  for (const std::uint64_t piece : {1U, 3U}) {
    for (const bool in_second : {false, true}) {
      CAPTURE(piece);
      CAPTURE(in_second);
      two_containers vm;
      REQUIRE(vm.discard(5).has_value());
      const auto before = vm.first.usage();
      two_containers::fail(in_second ? vm.of_second : vm.of_first, backend_call::map, piece);
      const auto done = vm.populate(5);
      REQUIRE_FALSE(done.has_value());
      CHECK(done.error().container() == (in_second ? "second group" : "first group"));
      CHECK_FALSE(vm.populated(5));
      CHECK(vm.source->wants_gone(5));
      CHECK(vm.resident_bytes() == (units - 1) * unit);
      CHECK(vm.first.usage() == before);
      CHECK(vm.second.usage() == before);
      REQUIRE(vm.populate(5).has_value());
      CHECK(vm.first.usage().discarded == 0);
      CHECK(vm.second.usage().discarded == 0);
    }
  }
}

TEST_CASE("who cannot go back has diverged, keeps its hold, and lets no unit of its memory go") {
  two_containers vm;
  REQUIRE(vm.discard(4).has_value());
  // the second cannot unmap, and the first cannot map again what it has unmapped; which of them is
  // asked first is for the population to choose
  two_containers::fail(vm.of_first, backend_call::unmap, 1);
  two_containers::fail(vm.of_second, backend_call::map, 1);
  auto done = vm.discard(5);
  if (done.error().container() == "first group" && !vm.second.diverged()) {
    vm.of_second.clear_faults();
    two_containers::fail(vm.of_second, backend_call::unmap, 1);
    two_containers::fail(vm.of_first, backend_call::map, 1);
    done = vm.discard(5);
  }
  REQUIRE_FALSE(done.has_value());
  CHECK(done.error().rollback_failed());
  CHECK(vm.first.diverged() != vm.second.diverged());
  CHECK(vm.populated(5));
  done = vm.discard(6);
  REQUIRE_FALSE(done.has_value());
  CHECK(done.error().is(errc::diverged));
  CHECK_FALSE(vm.populate(4).has_value());

  // the guest need not wait for it for ever: the unit comes back without it
  const auto fenced = vm.source->populate_or_fence(4);
  REQUIRE_FALSE(fenced.has_value());
  CHECK(fenced.error().is(errc::diverged));
  CHECK(vm.populated(4));
  auto& sound = vm.first.diverged() ? vm.second : vm.first;
  auto& diverged = vm.first.diverged() ? vm.first : vm.second;
  CHECK(sound.usage().discarded == 0);

  // once it is abandoned, nothing stands in the way
  REQUIRE(diverged.abandon().has_value());
  CHECK(vm.discard(6).has_value());
}

TEST_CASE("memory that cannot be discarded is mapped again everywhere") {
  two_containers vm;
  REQUIRE(::syscall(SYS_mlock, vm.ram.data() + 5 * unit, 4096) == 0);
  const auto before = vm.first.usage();
  CHECK_FALSE(vm.discard(5).has_value());
  CHECK(vm.populated(5));
  CHECK(vm.first.usage() == before);
  CHECK(vm.second.usage() == before);
  REQUIRE(::syscall(SYS_munlock, vm.ram.data() + 5 * unit, 4096) == 0);
  CHECK(vm.discard(5).has_value());
}

TEST_CASE("two sources: a unit is back only when neither wants it gone") {
  two_containers vm;
  unit_source other{*vm.ram.backing().population()};
  REQUIRE(vm.discard(2).has_value());
  {
    const auto permit = vm.gate.permit(discard_kind::coordinated);
    REQUIRE(other.discard(2, permit).has_value());
  }
  REQUIRE(vm.populate(2).has_value());
  CHECK_FALSE(vm.populated(2));
  CHECK(vm.first.usage().discarded == unit);
  REQUIRE(other.populate(2, [&] { return vm.gate.permit(discard_kind::coordinated); }).has_value());
  CHECK(vm.populated(2));
  CHECK(vm.first.usage().discarded == 0);
}

TEST_CASE("sections that cut units, and show them twice") {
  divided_guest vm;
  // units 1 to 3, but for 64 KiB at both ends, once more, and read-only
  const auto part = region::ram(vm.ram, block_offset{unit + 64 * KiB}, 3 * unit - 128 * KiB);
  auto change = vm.guest.begin();
  static_cast<void>(must(change.place(part, guest_address{1 * GiB + 64 * KiB})));
  static_cast<void>(must(change.commit()));
  recording<software_iommu> backend;
  container<recording<software_iommu>, fixed_block<64 * KiB>> dma{vm.guest, vm.gate,
                                                                  std::move(backend)};
  static_cast<void>(must(dma.attach(tether_test::pinning_group())));
  const auto full = dma.usage();
  CHECK(full.bytes == units * unit + 3 * unit - 128 * KiB);
  REQUIRE(vm.discard(1).has_value());
  CHECK(dma.usage().discarded == unit + unit - 64 * KiB);
  REQUIRE(vm.discard(2).has_value());
  CHECK(dma.usage().discarded == 4 * unit - 64 * KiB);
  REQUIRE(vm.populate(1).has_value());
  CHECK(dma.usage().discarded == 2 * unit);
  REQUIRE(vm.populate(2).has_value());
  CHECK(dma.usage() == full);
}

TEST_CASE("a map that changes while units are discarded") {
  divided_guest vm;
  ram_block more = must(ram_block::allocate("more", 4 * unit));
  must(divide(more, unit));
  container<recording<software_iommu>, fixed_block<64 * KiB>> dma{vm.guest, vm.gate};
  auto group = must(dma.attach(tether_test::pinning_group()));
  for (const std::uint64_t which : {0U, 3U, 4U, 15U}) REQUIRE(vm.discard(which).has_value());
  const auto before = dma.usage();

  // a refused change leaves it as it was: what was unmapped is mapped again, but for what is gone
  for (std::uint64_t piece = 1; piece <= 5; ++piece) {
    CAPTURE(piece);
    journal& calls = dma.backend().log();
    auto change = vm.guest.begin();
    for (const auto& one : *vm.guest.view()) CHECK(one.memory == &vm.ram.backing());
    static_cast<void>(must(change.place(region::mmio("registers", 4096), ram_at + 6 * unit, 1)));
    static_cast<void>(must(change.place(region::ram(more), guest_address{1 * GiB})));
    calls.fail_at(backend_call::map, 35 + piece, error{"map", errc::over_budget});
    const auto done = change.commit();
    REQUIRE_FALSE(done.has_value());
    CHECK_FALSE(done.error().rollback_failed());
    CHECK(dma.usage() == before);
    calls.clear_faults();
    REQUIRE(vm.populate(3).has_value());
    REQUIRE(vm.discard(3).has_value());
    CHECK(dma.usage() == before);
  }

  // one that succeeds
  const auto id = must(vm.guest.place(region::ram(more), guest_address{1 * GiB}));
  CHECK(dma.usage().bytes == before.bytes + more.size());
  CHECK(dma.usage().discarded == before.discarded);
  must(vm.guest.remove(id));
  CHECK(dma.usage() == before);
  REQUIRE(vm.populate(15).has_value());
  CHECK(dma.usage().discarded == 3 * unit);
  must(group.detach());
  CHECK(dma.usage() == mapped_usage{});
}

TEST_CASE("a section of which every unit is discarded is followed until it is removed") {
  divided_guest vm;
  container<recording<software_iommu>, fixed_block<64 * KiB>> dma{vm.guest, vm.gate};
  auto group = must(dma.attach(tether_test::pinning_group()));
  for (std::uint64_t which = 0; which < units; ++which) REQUIRE(vm.discard(which).has_value());
  CHECK(dma.usage() == mapped_usage{.discarded = units * unit});
  must(group.detach());
  CHECK(dma.usage() == mapped_usage{});
  // its memory is nothing to the container any more
  dma.backend().log().clear();
  REQUIRE(vm.populate(3).has_value());
  CHECK(dma.backend().log().entries().empty());
  group = must(dma.attach(tether_test::pinning_group()));
  CHECK(dma.usage() == mapped_usage{.mappings = unit / (64 * KiB),
                                    .bytes = unit,
                                    .discarded = (units - 1) * unit});
}

TEST_CASE("blocks must divide the units") {
  divided_guest vm;
  container<software_iommu, fixed_block<512 * KiB>> dma{vm.guest, vm.gate};
  const auto refused = dma.attach(tether_test::pinning_group());
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().is(errc::granularity_mismatch));
  CHECK(refused.error().number() == unit);
  CHECK(dma.usage() == mapped_usage{});
}

TEST_CASE("a file that has grown since its memory was divided") {
  const int file = ::memfd_create("ram", MFD_CLOEXEC);
  REQUIRE(::ftruncate(file, 4 * unit) == 0);
  using kernel = tether_test::roomy_kernel;
  auto first = must(ram_block::from_descriptor<kernel>("first", file, 0, 4 * unit));
  must(divide(first, unit));
  REQUIRE(::ftruncate(file, 8 * unit) == 0);
  auto second = must(ram_block::from_descriptor<kernel>("second", file, 4 * unit, 4 * unit));
  ::close(file);
  REQUIRE(&second.backing() == &first.backing());
  address_space guest;
  discard_gate<> gate;
  static_cast<void>(must(guest.place(region::ram(second), ram_at)));
  container<software_iommu, fixed_block<64 * KiB>> dma{guest, gate};
  const auto refused = dma.attach(tether_test::pinning_group());
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().is(errc::past_the_end));
  balloon<> device{guest, gate, {.must_tell_host = true}};
  const auto told = device.inflate(tether_test::frames_up(16 * MiB / (4 * KiB), 64));
  CHECK(told.discarded == 64);
  CHECK(told.units_discarded == 0);
}

TEST_CASE("discarded units count against the budget: they may come back") {
  divided_guest vm;
  for (std::uint64_t which = 0; which < units; ++which) REQUIRE(vm.discard(which).has_value());
  constexpr std::uint64_t needed = units * unit / (64 * KiB);
  container<software_iommu, fixed_block<64 * KiB>> small{vm.guest, vm.gate,
                                                         software_iommu{{.budget = needed - 1}}};
  const auto refused = small.attach(tether_test::pinning_group());
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().is(errc::over_budget));

  container<software_iommu, fixed_block<64 * KiB>> enough{vm.guest, vm.gate,
                                                          software_iommu{{.budget = needed}}};
  static_cast<void>(must(enough.attach(tether_test::pinning_group())));
  CHECK(enough.usage().mappings == 0);
  ram_block more = must(ram_block::allocate("more", 64 * KiB));
  const auto one_more = vm.guest.place(region::ram(more), guest_address{1 * GiB});
  REQUIRE_FALSE(one_more.has_value());
  CHECK(one_more.error().is(errc::over_budget));
  for (std::uint64_t which = 0; which < units; ++which) REQUIRE(vm.populate(which).has_value());
  CHECK(enough.usage().mappings == needed);
}

TEST_CASE("who does not map in blocks inhibits units, too, and brings back what is gone") {
  auto backend = on_io_uring::make();
  if (!backend) return tether_test::skip_because(backend.error().sentence());
  divided_guest vm;
  REQUIRE(vm.discard(1).has_value());
  CHECK(vm.resident_bytes() == (units - 1) * unit);
  container<io_uring_buffers, whole_section> dma{vm.guest, vm.gate, std::move(*backend)};
  auto group = must(dma.attach(tether_test::pinning_group()));
  auto nic = must(group.open("nic"));
  CHECK(vm.resident_bytes() == units * unit);
  const auto refused = vm.discard(2);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().is(errc::discards_disabled));
  CHECK(vm.populated(2));
  // populated again: nothing is mapped, since it is mapped
  REQUIRE(vm.populate(1).has_value());
  CHECK(agree(vm, *nic, 1));
}

namespace {

/// Calls back in the middle of a commit: from the container's observer.
struct in_the_middle : no_observation {
  void mapped(mapping const&) noexcept {
    if (hook) std::exchange(hook, nullptr)();
  }
  std::function<void()> hook{};
};

}  // namespace

TEST_CASE("free page reporting over divided memory is never coordinated") {
  auto backend = on_io_uring::make();
  if (!backend) return tether_test::skip_because(backend.error().sentence());
  divided_guest vm;
  REQUIRE(vm.discard(3).has_value());
  page_reporting reporting{vm.guest, vm.gate};
  const auto report = [&](std::uint64_t which) {
    const extent<guest_address> all{ram_at + which * unit, ram_at + (which * unit + unit - 1)};
    return reporting.report({&all, 1});
  };
  constexpr std::uint64_t frames = unit / frame_size;
  {
    container_of<on_io_uring> dma{vm.guest, vm.gate, std::move(*backend)};
    auto group = must(dma.attach(tether_test::pinning_group()));
    auto nic = must(group.open("nic"));
    // a reported page is used again without a message: neither pages nor units go
    for (const std::uint64_t which : {2U, 3U}) {
      const auto told = report(which);
      CHECK(told.inhibited == frames);
      CHECK(told.adds_up());
      CHECK(told.calls == 0);
    }
    CHECK(vm.resident(2));
    CHECK(vm.populated(2));
    CHECK(agree(vm, *nic, 2));
    must(group.detach());
  }
  // with nobody attached pages go, and units stay what they are
  CHECK(report(2).discarded == frames);
  CHECK_FALSE(vm.resident(2));
  CHECK(vm.populated(2));
  CHECK(report(3).discarded == frames);
  CHECK_FALSE(vm.populated(3));
  CHECK(vm.units_of_it().discarded_bytes() == unit);
  // who attaches then brings in what was reported, and not what was discarded
  auto again = on_io_uring::make();
  REQUIRE(again.has_value());
  container_of<on_io_uring> dma{vm.guest, vm.gate, std::move(*again)};
  auto group = must(dma.attach(tether_test::pinning_group()));
  auto nic = must(group.open("nic"));
  CHECK(vm.resident(2));
  CHECK(agree(vm, *nic, 2));
  CHECK(dma.usage().discarded == unit);
  CHECK_FALSE(vm.resident(3));
}

TEST_CASE("a container that is waited for is named, by what is attached longest") {
  divided_guest vm;
  container<software_iommu, fixed_block<64 * KiB>, in_the_middle> dma{vm.guest, vm.gate};
  auto nics = must(dma.attach(tether_test::pinning_group()));
  static_cast<void>(must(dma.attach(tether_test::pinning_group("disks"))));
  const auto waited_for = [&] {
    std::string name;
    dma.with_observer([&](in_the_middle&) {
      std::thread{[&] {
        if (const auto refused = vm.discard(3); !refused)
          name = refused.error().sentence() + '|' + std::string{refused.error().container()};
      }}.join();
    });
    return name;
  };
  CHECK(waited_for() ==
        "discard of 'ram' at block offset [0xc0000, 0xfffff] in container 'nics': Device or "
        "resource busy; a container that maps it is being attached, detached or changed: try "
        "again|nics");
  must(nics.detach());
  CHECK(waited_for().ends_with("|disks"));
  CHECK(vm.discard(3).has_value());
}

TEST_CASE("nobody waits for a container that is at work: busy") {
  divided_guest vm;
  container<software_iommu, fixed_block<64 * KiB>, in_the_middle> dma{vm.guest, vm.gate};
  std::optional<result<void>> discarded;
  std::optional<result<void>> populated;
  REQUIRE(vm.discard(9).has_value());
  dma.with_observer([&](in_the_middle& observer) {
    observer.hook = [&] {
      std::thread{[&] {
        discarded = vm.discard(3);
        populated = vm.populate(9);
      }}.join();
    };
  });
  static_cast<void>(must(dma.attach(tether_test::pinning_group())));
  REQUIRE(discarded.has_value());
  REQUIRE_FALSE(discarded->has_value());
  CHECK(is_busy(discarded->error()));
  CHECK(discarded->error().container() == "nics");
  REQUIRE_FALSE(populated->has_value());
  CHECK(is_busy(populated->error()));
  CHECK(populated->error().container() == "nics");
  CHECK(vm.populated(3));
  CHECK_FALSE(vm.populated(9));
  CHECK(vm.resident_bytes() == (units - 1) * unit);
  CHECK(vm.discard(3).has_value());
  CHECK(vm.populate(9).has_value());
  CHECK(dma.usage().discarded == unit);
}

TEST_CASE(
    "sections of two divided blocks, by turns: a container follows each block's units by "
    "themselves") {
  tether_test::divided_ram vm{units, unit};
  ram_block second = must(ram_block::allocate("second", units * unit));
  must(divide(second, unit));
  unit_source source{*second.backing().population()};
  address_space guest;
  ram_block* const both[]{&vm.ram, &second};
  std::vector<region_id> placed;
  for (std::uint64_t part = 0; part < 8; ++part) {
    const std::uint64_t from = part / 2 * 4 * unit;
    placed.push_back(must(guest.place(region::ram(*both[part % 2], block_offset{from}, 4 * unit),
                                      guest_address{ram_at.value + part * 4 * unit})));
  }
  container_of<on_software> dma{guest, vm.gate, must(on_software::make())};
  auto group = must(dma.attach(tether_test::pinning_group()));
  auto nic = must(group.open("nic"));
  const auto reaches = [&](std::uint64_t block, std::uint64_t which) {
    const std::uint64_t at = ram_at.value + (2 * (which / 4) + block) * 4 * unit + which % 4 * unit;
    std::array<std::byte, 8> some{};
    return nic->dma_read(io_address{at}, some).has_value();
  };
  for (std::uint64_t which = 0; which < units; ++which) {
    CAPTURE(which);
    REQUIRE(vm.discard(which).has_value());
    CHECK_FALSE(reaches(0, which));
    CHECK(reaches(1, which));
    REQUIRE(source.discard(which, vm.gate.permit(discard_kind::coordinated)).has_value());
    CHECK_FALSE(reaches(1, which));
    REQUIRE(vm.populate(which).has_value());
    CHECK(reaches(0, which));
    CHECK_FALSE(reaches(1, which));
    REQUIRE(source.populate(which, [&] { return vm.gate.permit(discard_kind::coordinated); })
                .has_value());
    CHECK(reaches(1, which));
  }
  must(group.detach());
  for (auto const id : placed) must(guest.remove(id));
}

TEST_CASE_TEMPLATE("units come and go from several threads while containers attach and detach",
                   Where, on_software, on_io_uring) {
  auto probe = Where::make();
  if (!probe) return tether_test::skip_because(probe.error().sentence());
  divided_guest vm;
  const std::uint64_t rounds = tether_test::amount(60);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> changes{0};
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> compared{0};
  std::array<std::atomic<std::uint64_t>, units> turns{};  // of a unit: odd while it changes
  std::vector<std::thread> threads;
  for (std::uint64_t mine = 0; mine < 2; ++mine)
    threads.emplace_back([&, mine] {
      for (std::uint64_t which = mine; !stop; which = (which + 2) % units) {
        turns[which] += 1;
        auto const done = vm.populated(which) ? vm.discard(which) : vm.populate(which);
        if (done) changes += 1;
        else if (!is_busy(done.error())) wrong += 1;
        turns[which] += 1;
        std::this_thread::yield();
      }
    });
  container_of<Where> dma{vm.guest, vm.gate, std::move(*probe)};
  for (std::uint64_t round = 0; round < rounds; ++round) {
    auto group = must(dma.attach(tether_test::pinning_group()));
    auto nic = must(group.open("nic"));
    // while the container is not at work itself, nobody is told that it is busy
    for (const auto before = changes.load(); changes.load() == before;) std::this_thread::yield();
    const auto usage = dma.usage();
    if (usage.bytes + usage.discarded != units * unit) wrong += 1;
    for (std::uint64_t which = 0; which < units; ++which) {
      // whatever the device can reach is what the CPU sees, as long as it does not go meanwhile
      std::array<std::byte, 32> carried{};
      carried.fill(std::byte(round + 1));
      const auto turn = turns[which].load();
      if (!nic->dma_write(io_of(which, 4096), carried)) continue;
      std::array<std::byte, 32> seen{};
      std::memcpy(seen.data(), vm.ram.data() + which * unit + 4096, seen.size());
      if (turn % 2 != 0 || turns[which].load() != turn) continue;
      compared += 1;
      if (seen != carried) wrong += 1;
    }
    must(group.detach());
    if (dma.usage() != mapped_usage{}) wrong += 1;
  }
  stop = true;
  for (auto& one : threads) one.join();
  CHECK(wrong == 0);
  CHECK(compared > 0);
  CHECK(changes >= rounds);
  for (std::uint64_t which = 0; which < units; ++which) REQUIRE(vm.populate(which).has_value());
  CHECK(vm.ram.backing().population()->discarded_bytes() == 0);
}

}  // namespace scenario_coordinated_discards
