// SPDX-License-Identifier: BSL-1.0
// What an IOMMU can map is a question to the kernel. A commit asks it a fixed number of times,
// however many sections it adds or removes, and goes by an answer from after its own unmaps.
#include <tether/attach/container.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/fake_vfio_kernel.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

namespace scenario_limits_are_asked_once {

using namespace tether;
using tether_test::fake_vfio_kernel;
using tether_test::must;

namespace {

using type1 = basic_vfio_type1<fake_vfio_kernel>;

constexpr std::uint64_t page = 4 * KiB;

/// A container on type1 with a group in it.
struct attached {
  attached() { group.emplace(must(dma.attach(vfio_group{"/dev/vfio/1"}))); }
  [[nodiscard]] static tether_test::fake_vfio& start() {
    auto& anew = fake_vfio_kernel::start_anew();
    anew.groups["/dev/vfio/1"].is = {};
    return anew;
  }
  [[nodiscard]] std::uint64_t asked(unsigned long what) const {
    return static_cast<std::uint64_t>(std::ranges::count(machine.requests, what));
  }

  tether_test::fake_vfio& machine = start();
  ram_block ram = must(ram_block::allocate("ram", 1 * MiB));
  address_space guest;
  discard_gate<> gate;
  container<type1> dma{guest, gate, type1{}};
  std::optional<container<type1>::attached> group{};
};

/// `sections` pages of RAM, none beside another: from page `from` on.
std::vector<region_id> place(transaction& change, ram_block& ram, std::uint64_t from,
                             std::uint64_t sections) {
  std::vector<region_id> placed;
  for (std::uint64_t i = 0; i < sections; ++i)
    placed.push_back(must(change.place(region::ram(ram, block_offset{0}, page),
                                       guest_address{(from + 2 * i) * page})));
  return placed;
}

}  // namespace

TEST_CASE("a commit asks what can be mapped at most twice, each time in one call, at N and at 4N") {
  for (const auto kind : {commit_kind::compulsory, commit_kind::refusable}) {
    CAPTURE(kind == commit_kind::compulsory);
    for (const std::uint64_t sections : {64U, 256U}) {
      CAPTURE(sections);
      attached w;
      auto& requests = w.machine.requests;
      requests.clear();
      auto plug = w.guest.begin(kind);
      const auto placed = place(plug, w.ram, 0, sections);
      CHECK(must(plug.commit()).fenced.empty());
      CHECK(w.asked(VFIO_IOMMU_MAP_DMA) == sections);
      CHECK(w.asked(VFIO_IOMMU_GET_INFO) <= 2);
      requests.clear();
      auto replace = w.guest.begin(kind);  // all of them, and as many come
      for (const region_id one : placed) must(replace.remove(one));
      const auto others = place(replace, w.ram, 1, sections);
      CHECK(must(replace.commit()).fenced.empty());
      CHECK(w.asked(VFIO_IOMMU_UNMAP_DMA) == sections);
      CHECK(w.asked(VFIO_IOMMU_MAP_DMA) == sections);
      CHECK(w.asked(VFIO_IOMMU_GET_INFO) <= 2);
      requests.clear();
      auto unplug = w.guest.begin(kind);
      for (const region_id one : others) must(unplug.remove(one));
      CHECK(must(unplug.commit()).fenced.empty());
      CHECK(w.asked(VFIO_IOMMU_GET_INFO) == 0);  // nothing comes
      CHECK(w.machine.mapped().empty());
      must(w.group->detach());
    }
  }
}

TEST_CASE(
    "the answer is no older than the commit's own unmaps: what they free is used, and one more is "
    "left out by its name") {
  attached w;
  w.machine.entry_limit = 8;
  auto plug = w.guest.begin(commit_kind::compulsory);
  const auto placed = place(plug, w.ram, 0, 8);
  CHECK(must(plug.commit()).fenced.empty());
  CHECK(w.dma.backend().free_mappings() == 0);
  auto replace = w.guest.begin(commit_kind::compulsory);
  for (const region_id one : placed) must(replace.remove(one));
  const auto others = place(replace, w.ram, 1, 9);
  const auto report = must(replace.commit());
  REQUIRE(report.fenced.size() == 1);
  CHECK(report.fenced[0].is(errc::over_budget));
  CHECK(w.dma.usage().mappings == 8);
  CHECK(w.dma.left_out().size() == 1);
  CHECK(w.asked(VFIO_IOMMU_MAP_DMA) == 16);  // the ninth is not even tried
  for (const region_id one : others) must(w.guest.remove(one));
  CHECK(w.dma.left_out().empty());
  must(w.group->detach());
}

}  // namespace scenario_limits_are_asked_once
