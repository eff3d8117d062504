// SPDX-License-Identifier: BSL-1.0
// Changes that happen whatever we say (law 12): they are always published; a container that cannot
// follow is fenced from what it concerns, is named in the result, and keeps its holds.
#include <support/may_discard.hpp>
#include <support/must.hpp>
#include <support/passthrough.hpp>
#include <support/skip.hpp>

#include <tether/granule/fixed_block.hpp>
#include <tether/granule/whole_section.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace scenario_compulsory {

using namespace tether;
using namespace tether_test;

namespace {

template <class Model, class... Policies>
struct attached_guest : passthrough<Model, Policies...> {
  using base = passthrough<Model, Policies...>;
  explicit attached_guest(typename Model::backend_type backend) : base{std::move(backend)} {
    group.emplace(must(this->dma->attach(pinning_group())));
    device.emplace(must(group->open("nic")));
    this->book.clear();
  }
  std::optional<typename base::container_type::attached> group;
  std::optional<typename base::container_type::opened> device;
};

/// Moves the high RAM, takes the registers away and puts RAM where nothing was.
template <class Rig>
result<commit_report> move_things(Rig& w) {
  auto change = w.guest.begin(commit_kind::compulsory);
  must(change.remove(w.registers));
  must(change.move(w.high_region, guest_address{4 * MiB}));
  static_cast<void>(must(change.place(region::ram(*w.spare), guest_address{2 * MiB})));
  return change.commit();
}

/// Whether a device reaches `bytes` at `at`.
template <class Device>
bool reaches(Device& device, std::uint64_t at) {
  std::byte one{};
  return device.dma_read(io_address{at}, std::span{&one, 1}).has_value();
}

template <class Model>
void following() {
  auto backend = Model::make();
  if (!backend) return skip_because(backend.error().sentence());
  attached_guest<Model, fixed_block<64 * KiB>> w{std::move(*backend)};
  const auto held = w.gate.counts();
  const auto report = must(move_things(w));
  CHECK(report.fenced.empty());
  CHECK(w.disagreements(**w.device) == 0);
  CHECK(reaches(**w.device, 4 * MiB));
  CHECK_FALSE(reaches(**w.device, 1 * MiB));
  CHECK(w.gate.counts() == held);
  CHECK(w.stale_strikes == 0);
  must(w.group->detach());
}

/// Each map of a compulsory change fails in turn: it is published, what failed is not there, the
/// rest is.
template <class Model>
void fenced_from_what_cannot_be_mapped() {
  if (auto backend = Model::make(); !backend) return skip_because(backend.error().sentence());
  for (std::uint64_t n = 1;; ++n) {
    CAPTURE(n);
    attached_guest<Model, fixed_block<64 * KiB>> w{must(Model::make())};
    const auto held = w.gate.counts();
    w.book.fail_at(backend_call::map, n, error{"map", errc::memory_gone});
    const auto report = must(move_things(w));
    const bool struck = w.book.faults_left() == 0;
    w.book.clear_faults();
    // Published, whatever the container said.
    std::vector<std::string> sections;
    for (auto const& one : *w.guest.view()) sections.push_back(drawn(one));
    CHECK(sections == std::vector<std::string>{"low[0,2ffff]", "rom[40000,4ffff]",
                                               "spare[200000,21ffff]", "high[400000,41ffff]"});
    CHECK_FALSE(w.dma->diverged());
    CHECK(w.gate.counts() == held);
    CHECK_FALSE(may_discard(w.gate, discard_kind::uncoordinated) == Model::backend_type::pins);
    if (!struck) {
      CHECK(report.fenced.empty());
      CHECK(n > 5);
      return;
    }
    REQUIRE(report.fenced.size() == 1);
    CHECK(report.fenced[0].is(errc::memory_gone));
    REQUIRE(w.dma->left_out().size() == 1);
    const section_description gone = w.dma->left_out()[0].what;
    CHECK(report.fenced[0].subject() == gone.name.view());
    std::uint64_t mapped = 0;
    for (auto const& one : *w.guest.view()) {
      CHECK(reaches(**w.device, one.where.first.value) == !(one.where == gone.where));
      CHECK(reaches(**w.device, one.where.last.value) == !(one.where == gone.where));
      mapped += one.where == gone.where ? 0 : one.where.size();
    }
    CHECK(w.dma->usage().bytes == mapped);
    // What was fenced can be taken away, and brought back.
    const auto unmaps = w.book.count(backend_call::unmap);
    if (gone.name.view() == "high") {
      must(w.guest.remove(w.high_region));
      CHECK(w.book.count(backend_call::unmap) == unmaps);
      static_cast<void>(must(w.guest.place(region::ram(*w.high), guest_address{1 * MiB})));
      CHECK(w.dma->left_out().empty());
      CHECK(w.disagreements(**w.device) == 0);
    }
    must(w.group->detach());
    CHECK(w.dma->left_out().empty());
    CHECK(w.dma->usage() == mapped_usage{});
    CHECK(w.gate.counts() == gate_counts{});
    CHECK(w.stale_strikes == 0);
  }
}

/// Each unmap fails in turn: nobody knows what devices still reach, so the holds stand and the
/// memory cannot be freed.
template <class Model>
void diverged_where_it_cannot_unmap() {
  if (auto backend = Model::make(); !backend) return skip_because(backend.error().sentence());
  for (std::uint64_t n = 1;; ++n) {
    CAPTURE(n);
    attached_guest<Model, whole_section> w{must(Model::make())};
    const auto held = w.gate.counts();
    w.book.fail_at(backend_call::unmap, n, error{"unmap", errc::cuts_a_mapping});
    auto change = w.guest.begin(commit_kind::compulsory);
    must(change.remove(w.low_region));
    must(change.remove(w.high_region));
    const auto report = must(change.commit());
    const bool struck = w.book.faults_left() == 0;
    w.book.clear_faults();
    CHECK(w.guest.view()->size() == 2);  // registers and ROM are left
    if (!struck) {
      CHECK(report.fenced.empty());
      CHECK(n == 4);  // low before and behind the registers, high
      return;
    }
    REQUIRE(report.fenced.size() == 1);
    CHECK(report.fenced[0].rollback_failed());
    CHECK(w.dma->diverged());
    CHECK(w.gate.counts() == held);
    ram_block& kept = n == 3 ? *w.high : *w.low;
    CHECK(kept.backing().references() == 1);
    CHECK(kept.free().error().is(errc::still_in_use));
    CHECK((n == 3 ? *w.low : *w.high).backing().references() == 0);
    CHECK(w.group->detach().error().is(errc::diverged));
    CHECK(w.device->close().error().is(errc::diverged));
    // Another compulsory change is published too; a refusable one is refused.
    auto another = w.guest.begin(commit_kind::compulsory);
    must(another.set_enabled(w.rom_region, false));
    CHECK(must(another.commit()).fenced.size() == 1);
    CHECK(w.guest.view()->size() == 1);
    CHECK(w.guest.place(region::ram(*w.spare), guest_address{8 * MiB}).error().is(errc::diverged));
    must(w.dma->abandon());
    CHECK(w.gate.counts() == gate_counts{});
    CHECK(kept.backing().references() == 0);
    CHECK_FALSE(w.dma->diverged());
  }
}

}  // namespace

TEST_CASE(
    "a compulsory change that a container can follow is followed, on a software IOMMU and on "
    "io_uring's pins") {
  following<on_software>();
  following<on_io_uring>();
}
TEST_CASE(
    "a compulsory change that cannot be mapped is published, fences that section alone and names "
    "it, on a software IOMMU") {
  fenced_from_what_cannot_be_mapped<on_software>();
}
TEST_CASE(
    "a compulsory change that cannot be mapped is published, fences that section alone and names "
    "it, on io_uring's pins") {
  fenced_from_what_cannot_be_mapped<on_io_uring>();
}
TEST_CASE(
    "a compulsory change that cannot be unmapped is published, and the memory that devices may "
    "reach is kept, on a software IOMMU") {
  diverged_where_it_cannot_unmap<on_software>();
}
TEST_CASE(
    "a compulsory change that cannot be unmapped is published, and the memory that devices may "
    "reach is kept, on io_uring's pins") {
  diverged_where_it_cannot_unmap<on_io_uring>();
}

TEST_CASE(
    "a compulsory change with what the IOMMU can never do fences it: outside the aperture, over "
    "the budget, a window, ragged RAM") {
  struct refused_thing {
    const char* name;
    errc why;
    region_id (*place)(transaction&, ram_block&);
  };
  const refused_thing all[]{
      {"far", errc::outside_aperture,
       [](transaction& change, ram_block& block) {
         return must(
             change.place(region::ram(block).named("far"), guest_address{std::uint64_t{1} << 50}));
       }},
      {"crooked", errc::not_congruent,
       [](transaction& change, ram_block& block) {
         return must(change.place(region::ram(block, block_offset{0x800}, 0x4000).named("crooked"),
                                  guest_address{16 * MiB}));
       }},
      {"viommu", errc::unsupported,
       [](transaction& change, ram_block&) {
         return must(
             change.place(region::iommu_window("viommu", 1 * MiB), guest_address{16 * MiB}));
       }},
  };
  for (auto const& one : all) {
    const std::string name = one.name;
    CAPTURE(name);
    attached_guest<on_software> w{must(on_software::make())};
    const auto before = w.dma->usage();
    auto change = w.guest.begin(commit_kind::compulsory);
    const auto id = one.place(change, *w.spare);
    const auto report = must(change.commit());
    REQUIRE(report.fenced.size() == 1);
    CHECK(report.fenced[0].is(one.why));
    CHECK(report.fenced[0].subject() == one.name);
    CHECK(w.dma->usage() == before);
    CHECK(w.dma->left_out().size() == 1);
    CHECK_FALSE(w.dma->diverged());
    w.book.clear();
    must(w.guest.remove(id));
    CHECK(w.book.entries().empty());
    CHECK(w.dma->left_out().empty());
    must(w.group->detach());
  }
  // The budget.
  address_space guest;
  discard_gate<> gate;
  ram_block ram = must(ram_block::allocate("ram", 256 * KiB));
  {
    container<software_iommu, fixed_block<64 * KiB>> dma{guest, gate,
                                                         software_iommu{{.budget = 3}}};
    auto group = must(dma.attach(pinning_group()));
    auto change = guest.begin(commit_kind::compulsory);
    const auto id = must(change.place(region::ram(ram), guest_address{0}));
    const auto report = must(change.commit());
    REQUIRE(report.fenced.size() == 1);
    CHECK(report.fenced[0].is(errc::over_budget));
    CHECK(dma.usage() == mapped_usage{});
    CHECK(dma.backend().free_mappings() == 3);
    must(group.detach());
    must(guest.remove(id));
  }
}

}  // namespace scenario_compulsory
