// SPDX-License-Identifier: BSL-1.0
// What an IOMMU cannot do is refused up front, by name and with advice, and nothing has been
// touched: holes in its aperture, too few mappings, ragged edges, memory that lies across pages,
// windows of a virtual IOMMU.
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/granule/edges.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/largest_page.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/testing/recording.hpp>

#include <support/may_discard.hpp>
#include <support/must.hpp>
#include <support/passthrough.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace scenario_limits {

using namespace tether;
using namespace tether_test;

namespace {

/// Notes what it is told, so that a test can ask.
struct noting {
  using slot = observation_slot;
  std::vector<std::string> told;
  void trimmed(section const& what, std::uint64_t bytes) noexcept {
    told.push_back("trimmed " + std::string{what.name} + " " + std::to_string(bytes));
  }
  void left_out(section const& what, error const& why) noexcept {
    told.push_back("left out " + std::string{what.name} + ": " + why.code().message());
  }
};

/// A guest whose only container is a recorded software IOMMU.
template <class... Policies>
struct small_guest {
  using container_type = container<recording<software_iommu>, noting, Policies...>;

  explicit small_guest(software_iommu_options options = {})
      : dma{guest, gate, recording<software_iommu>{book, software_iommu{std::move(options)}}} {}

  ram_block ram = must(ram_block::allocate("ram", 256 * KiB));
  ram_block bar = must(ram_block::allocate("bar", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  journal book;
  container_type dma;

  region_id place(region const& what, std::uint64_t at, int priority = 0) {
    return must(guest.place(what, guest_address{at}, priority));
  }
  /// An attach that must be refused before anything but the join was asked.
  error refused() {
    auto group = dma.attach(pinning_group());
    REQUIRE_FALSE(group);
    CHECK(book.count(backend_call::map) == 0);
    CHECK(book.entries().back().what == backend_call::leave);
    CHECK(dma.usage() == mapped_usage{});
    CHECK(dma.membership() == container_counts{});
    CHECK(gate.counts() == gate_counts{});
    CHECK_FALSE(dma.diverged());
    CHECK(dma.left_out().empty());
    return group.error();
  }
};

extent<io_address> io(std::uint64_t first, std::uint64_t last) {
  return {io_address{first}, io_address{last}};
}

}  // namespace

TEST_CASE(
    "RAM across a hole in the aperture is refused with its extent, and never split around the "
    "hole") {
  small_guest<> w{{.usable = {io(0, 0x1ffff), io(0x30000, 0xfffff)}}};
  const auto at = w.place(region::ram(w.ram), 0);
  const error why = w.refused();
  CHECK(why.is(errc::outside_aperture));
  CHECK(why.subject() == "ram");
  CHECK(why.has_extent());
  CHECK(why.first() == 0);
  CHECK(why.last() == 256 * KiB - 1);
  CHECK(why.sentence().find("usable_iova()") != std::string::npos);
  CHECK(w.dma.usable_iova().size() == 2);
  // Ranges that touch do not combine either; inside one of them it fits.
  must(w.guest.move(at, guest_address{0x40000}));
  CHECK(w.dma.attach(pinning_group()));
}

TEST_CASE(
    "a change that would put RAM outside the aperture is refused while a group is attached, and "
    "all is as before") {
  small_guest<> w{{.usable = {io(0, 0x3ffff)}}};
  const auto at = w.place(region::ram(w.ram), 0);
  auto group = must(w.dma.attach(pinning_group()));
  w.book.clear();
  const auto moved = w.guest.move(at, guest_address{0x1000});
  REQUIRE_FALSE(moved);
  CHECK(moved.error().is(errc::outside_aperture));
  CHECK(w.book.entries().empty());
  CHECK(w.guest.view()->begin()->where.first.value == 0);
  CHECK(w.dma.usage().bytes == 256 * KiB);
  must(group.detach());
}

TEST_CASE(
    "more mappings than the budget are refused up front, with the block size that would fit") {
  small_guest<fixed_block<4 * KiB>> w{{.budget = 20}};
  w.place(region::ram(w.ram), 0);
  const error why = w.refused();
  CHECK(why.is(errc::over_budget));
  CHECK(why.number() == 16 * KiB);  // 16 blocks of 16 KiB; 8 KiB would take 32
  CHECK(why.sentence().find("use blocks of 16384 bytes or larger") != std::string::npos);
  small_guest<fixed_block<16 * KiB>> fits{{.budget = 20}};
  fits.place(region::ram(fits.ram), 0);
  CHECK(fits.dma.attach(pinning_group()));
  CHECK(fits.dma.backend().free_mappings() == 4);
}

TEST_CASE("where no block size would fit, the advice is the mapping limit") {
  small_guest<> w{{.budget = 1}};
  w.place(region::ram(w.ram, block_offset{0}, 64 * KiB), 0);
  w.place(region::ram(w.ram, block_offset{64 * KiB}, 64 * KiB), 0x40000);
  const error why = w.refused();
  CHECK(why.is(errc::over_budget));
  CHECK(why.number() == 0);
  CHECK(why.first() == 0x40000);
  CHECK(why.sentence().find("mapping limit") != std::string::npos);
}

TEST_CASE("what a commit removes makes room for what it adds") {
  small_guest<fixed_block<64 * KiB>> w{{.budget = 4}};
  const auto at = w.place(region::ram(w.ram), 0);
  auto group = must(w.dma.attach(pinning_group()));
  CHECK(w.dma.backend().free_mappings() == 0);
  must(w.guest.move(at, guest_address{1 * MiB}));
  CHECK(w.dma.usage().mappings == 4);
  const auto more = w.guest.place(region::ram(w.bar), guest_address{4 * MiB});
  REQUIRE_FALSE(more);
  CHECK(more.error().is(errc::over_budget));
  CHECK(w.guest.view()->size() == 1);
  must(group.detach());
}

TEST_CASE(
    "another device's BAR never takes a mapping from RAM: over the budget it is left out, and the "
    "attach goes on") {
  small_guest<fixed_block<64 * KiB>> w{{.budget = 4}};
  const auto bar = w.place(region::ram_device(w.bar), 0);
  w.place(region::ram(w.ram), 0x100000);
  auto group = must(w.dma.attach(pinning_group()));
  CHECK(w.dma.usage() == mapped_usage{4, 256 * KiB});
  REQUIRE(w.dma.left_out().size() == 1);
  CHECK(w.dma.left_out()[0].why.is(errc::over_budget));
  const auto unmaps = w.book.count(backend_call::unmap);
  must(w.guest.remove(bar));
  CHECK(w.book.count(backend_call::unmap) == unmaps);
  CHECK(w.dma.left_out().empty());
  must(group.detach());
}

TEST_CASE(
    "ragged edges are trimmed inward and reported, less than a page is left out, and both come "
    "back whole") {
  small_guest<trim_edges> w;
  const auto ragged =
      w.place(region::ram(w.ram, block_offset{0x800}, 0x2000).named("ragged"), 0x10800);
  w.place(region::ram(w.ram, block_offset{0x8000}, 0x200).named("crumb"), 0x20000);
  auto group = must(w.dma.attach(pinning_group()));
  CHECK(w.dma.usage() == mapped_usage{1, 0x1000});
  CHECK(w.dma.trimmed_bytes() == 0x1000);
  REQUIRE(w.dma.left_out().size() == 1);
  CHECK(w.dma.left_out()[0].what.where.first.value == 0x20000);
  CHECK(w.dma.left_out()[0].why.is(errc::not_aligned));
  CHECK(w.dma.observer().told.size() == 2);
  must(w.guest.remove(ragged));
  CHECK(w.dma.trimmed_bytes() == 0);
  CHECK(w.dma.usage() == mapped_usage{});
  const auto unmaps = w.book.count(backend_call::unmap);
  must(group.detach());
  CHECK(w.book.count(backend_call::unmap) == unmaps);  // the crumb was never mapped
  CHECK(w.dma.left_out().empty());
}

TEST_CASE("ragged edges are refused where the configuration says so, naming the page") {
  small_guest<refuse_edges> w;
  w.place(region::ram(w.ram, block_offset{0x800}, 0x2000), 0x10800);
  const error why = w.refused();
  CHECK(why.is(errc::not_aligned));
  CHECK(why.number() == 4 * KiB);
  CHECK(why.first() == 0x10800);
}

TEST_CASE(
    "RAM that lies differently within its pages than its host memory is refused, whatever the "
    "edges") {
  small_guest<trim_edges> w;
  w.place(region::ram(w.ram, block_offset{0x800}, 0x4000), 0x10000);
  CHECK(w.refused().is(errc::not_congruent));
  small_guest<refuse_edges> other;
  other.place(region::ram(other.ram, block_offset{0x800}, 0x4000), 0x10000);
  CHECK(other.refused().is(errc::not_congruent));
}

TEST_CASE(
    "a BAR smaller than a page is neither mapped nor unmapped, is reported once, and the attach "
    "goes on") {
  small_guest<> w;
  w.place(region::ram(w.ram), 0);
  const auto small =
      w.place(region::ram_device(w.bar, block_offset{0}, 512).named("small BAR"), 0x100000);
  const auto crooked = w.place(
      region::ram_device(w.bar, block_offset{0x800}, 0x4000).named("crooked BAR"), 0x200000);
  const auto far = w.place(region::ram_device(w.bar).named("far BAR"), std::uint64_t{1} << 50);
  auto group = must(w.dma.attach(pinning_group()));
  CHECK(w.book.count(backend_call::map) == 1);
  CHECK(w.dma.left_out().size() == 3);
  CHECK(w.dma.observer().told.size() == 3);
  for (auto id : {small, crooked, far}) must(w.guest.remove(id));
  CHECK(w.book.count(backend_call::unmap) == 0);
  CHECK(w.dma.left_out().empty());
  CHECK(w.dma.observer().told.size() == 3);
  must(group.detach());
  CHECK(w.book.count(backend_call::unmap) == 1);
}

TEST_CASE(
    "what was left out keeps the name under which it was told when its region is placed anew under "
    "another") {
  small_guest<> w;
  w.place(region::ram(w.ram), 0);
  const auto far = w.place(region::ram_device(w.bar).named("far BAR"), std::uint64_t{1} << 50);
  auto group = must(w.dma.attach(pinning_group()));
  auto change = w.guest.begin();
  must(change.remove(far));
  const auto anew = must(change.place(region::ram_device(w.bar).named("some other BAR"),
                                      guest_address{std::uint64_t{1} << 50}));
  static_cast<void>(must(change.commit()));
  CHECK(w.dma.observer().told.size() == 1);  // a name is nothing that a listener acts on
  for (int i = 0; i != 4; ++i)
    must(w.guest.remove(w.place(region::mmio("something else entirely", 4 * KiB), 1 * MiB)));
  REQUIRE(w.dma.left_out().size() == 1);
  CHECK(w.dma.left_out()[0].what.name.view() == "far BAR");
  must(w.guest.remove(anew));
  CHECK(w.dma.left_out().empty());
  must(group.detach());
}

TEST_CASE(
    "a BAR that the kernel declines does not fail the attach, and its removal issues nothing") {
  for (const int number : {EFAULT, EINVAL}) {
    small_guest<largest_page> w;
    w.place(region::ram(w.ram, block_offset{0}, 8 * KiB), 0);
    const auto bar = w.place(region::ram_device(w.bar), 0x100000);
    // the third page of the BAR
    w.book.fail_at(backend_call::map, 5, error::from_errno("map", number));
    auto group = must(w.dma.attach(pinning_group()));
    CHECK(w.book.faults_left() == 0);
    CHECK(w.dma.usage() == mapped_usage{2, 8 * KiB});
    CHECK(w.dma.backend().free_mappings() == 65533);
    REQUIRE(w.dma.left_out().size() == 1);
    CHECK(w.dma.left_out()[0].why.is_errno(number));
    const auto unmaps = w.book.count(backend_call::unmap);
    must(w.guest.remove(bar));
    CHECK(w.book.count(backend_call::unmap) == unmaps);
    // It can come back, and then it is mapped.
    w.place(region::ram_device(w.bar), 0x100000);
    CHECK(w.dma.usage().mappings == 2 + 16);
    must(group.detach());
    CHECK(w.dma.backend().free_mappings() == 65535);
  }
}

TEST_CASE("RAM that the kernel declines does fail the attach, with its errno and its name") {
  small_guest<largest_page> w;
  w.place(region::ram(w.ram, block_offset{0}, 8 * KiB).named("first"), 0);
  w.place(region::ram(w.ram, block_offset{64 * KiB}, 8 * KiB).named("second"), 0x100000);
  w.book.fail_at(backend_call::map, 4, error::from_errno("map", ENOMEM));
  const auto group = w.dma.attach(pinning_group());
  REQUIRE_FALSE(group);
  CHECK(group.error().is_errno(ENOMEM));
  CHECK(group.error().subject() == "second");
  CHECK(w.dma.backend().free_mappings() == 65535);
}

TEST_CASE("a window of a virtual IOMMU is refused by name, at the attach and at a later commit") {
  small_guest<> w;
  w.place(region::ram(w.ram), 0);
  const auto window = w.place(region::iommu_window("viommu", 1 * MiB), 0x1000000);
  const error why = w.refused();
  CHECK(why.is(errc::unsupported));
  CHECK(why.subject() == "viommu");
  must(w.guest.remove(window));
  auto group = must(w.dma.attach(pinning_group()));
  const auto late =
      w.guest.place(region::iommu_window("viommu", 1 * MiB), guest_address{0x1000000});
  REQUIRE_FALSE(late);
  CHECK(late.error().is(errc::unsupported));
  CHECK(w.dma.usage().bytes == 256 * KiB);
  must(group.detach());
}

TEST_CASE(
    "registers, and a 64-bit BAR while it is being sized, are not shown to devices and not "
    "reported") {
  small_guest<> w;
  w.place(region::ram(w.ram), 0);
  w.place(region::mmio("registers", 4 * KiB), 0x100000);
  w.place(region::ram_device(w.bar), 0xffff'ffff'ffff'0000);
  auto group = must(w.dma.attach(pinning_group()));
  CHECK(w.book.count(backend_call::map) == 1);
  CHECK(w.dma.left_out().empty());
  must(group.detach());
}

TEST_CASE(
    "blocks smaller than the IOMMU's page, or off its grid, are refused as a mismatch of "
    "granularity") {
  small_guest<fixed_block<4 * KiB>> w{{.page_sizes = {64 * KiB}}};
  ram_block aligned =
      must(ram_block::borrow("aligned", host_address{round_up(w.ram.host().value, 64 * KiB)},
                             128 * KiB, memory_kind::private_anonymous));
  const auto at = w.place(region::ram(aligned), 0);
  const error why = w.refused();
  CHECK(why.is(errc::granularity_mismatch));
  CHECK(why.number() == 64 * KiB);
  must(w.guest.remove(at));
}

TEST_CASE(
    "whoever requires discards makes the attach fail and is named; blocks go together with a "
    "coordinated requirement") {
  auto backend = on_io_uring::make();
  if (!backend) return skip_because(backend.error().sentence());
  passthrough<on_io_uring, whole_section, inhibit_per_container> whole{std::move(*backend)};
  passthrough<on_io_uring, fixed_block<64 * KiB>> blocks{must(on_io_uring::make())};
  for (const requirement_kind kind : {requirement_kind::any, requirement_kind::coordinated}) {
    const auto before = whole.state();
    const auto demand = must(whole.gate.require(kind, "virtio-mem"));
    const auto refused = whole.dma->attach(pinning_group());
    REQUIRE_FALSE(refused);
    CHECK(refused.error().is(errc::discards_required));
    CHECK(refused.error().blocker() == "virtio-mem");
    CHECK(whole.book.entries().empty());
    CHECK(whole.dma->membership() == before.membership);
    CHECK(whole.gate.counts().any_holds == 0);
  }
  const auto demand = must(blocks.gate.require(requirement_kind::coordinated, "virtio-mem"));
  auto group = must(blocks.dma->attach(pinning_group()));
  CHECK(blocks.gate.counts().uncoordinated_holds == 1);
  CHECK(may_discard(blocks.gate, discard_kind::coordinated));
  CHECK_FALSE(may_discard(blocks.gate, discard_kind::uncoordinated));
  CHECK_FALSE(blocks.gate.require(requirement_kind::any, "balloon"));
  must(group.detach());
  const auto any = must(blocks.gate.require(requirement_kind::any, "virtio-mem"));
  CHECK(blocks.dma->attach(pinning_group()).error().is(errc::discards_required));
}

TEST_CASE(
    "ROM is mapped for reading, a flip is an unmap and a map, and the device is stopped from "
    "writing") {
  small_guest<> w;
  const auto at = w.place(region::ram(w.ram), 0);
  auto group = must(w.dma.attach(pinning_group()));
  auto nic = must(group.open("nic"));
  const std::vector<std::byte> packet(16, std::byte{1});
  must(nic->dma_write(io_address{0}, packet));
  w.book.clear();
  must(w.guest.set_read_only(at, true));
  CHECK(w.book.count(backend_call::unmap) == 1);
  CHECK(w.book.count(backend_call::map) == 1);
  CHECK(nic->dma_write(io_address{0}, packet).error().is(errc::access_denied));
  w.book.clear();
  must(w.guest.set_dirty_log(at, true));
  CHECK(w.book.entries().empty());
  must(group.detach());
}

TEST_CASE("a mediated group, an endpoint that is not there, and a second of the same name") {
  small_guest<> w;
  w.place(region::ram(w.ram), 0);
  auto group = must(w.dma.attach(pinning_group()));
  CHECK(w.dma.attach(pinning_group()).error().is(errc::already_there));
  CHECK(group.open("disk").error().is(errc::no_such_device));
  auto nic = must(group.open("nic"));
  CHECK(group.open("nic").error().is(errc::already_there));
  must(group.request_unplug());
  CHECK(group.open("nic").error().is(errc::unplug_requested));
  must(nic.close());
  CHECK(group.open("nic").error().is(errc::unplug_requested));
  must(group.detach());
  CHECK(group.request_unplug().error().is(errc::stale_handle));
  CHECK(group.open("nic").error().is(errc::stale_handle));
}

}  // namespace scenario_limits
