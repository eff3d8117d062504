// SPDX-License-Identifier: BSL-1.0
// Which of the two forms a granularity takes, and what each adds to the mapper of sections.
#include <tether/listen/detail/mapped_sections.hpp>

#include <tether/backend/software_iommu.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

namespace runtime_listen_detail_mapped_sections {

using namespace tether;
using detail::section_plan;
using tether_test::must;

namespace {

template <class Granularity>
using mapped = detail::mapped_sections<software_iommu, Granularity, no_observation, std::mutex,
                                       detail::section_order>;

constexpr std::uint64_t unit = 256 * KiB;

template <class Granularity>
struct one_section {
  ram_block ram = must(ram_block::allocate("ram", 4 * unit));
  software_iommu backend{{.budget = 20}};
  std::mutex mutex;
  std::optional<mapped<Granularity>> all;
  section_plan plan;

  explicit one_section(bool divided) {
    if (divided) must(divide(ram, unit));
    static_cast<void>(must(backend.join(endpoint_group{"group", {{"nic", pin_class::pins}}})));
    all.emplace(backend, mutex);
    all->begin_change(false);
    const section what{.where = *extent<guest_address>::of(guest_address{0}, 4 * unit),
                       .memory = &ram.backing(),
                       .name = "ram"};
    plan = detail::plan_section<Granularity>(what, all->sizes());
  }
};

}  // namespace

TEST_CASE_TEMPLATE("maps, unmaps, and both again in a rollback", Granularity, whole_section,
                   fixed_block<64 * KiB>) {
  for (const bool divided : {false, true}) {
    CAPTURE(divided);
    one_section<Granularity> it{divided};
    unmonitored none;
    CHECK(it.all->nothing_mapped());
    CHECK(it.all->free_mappings() == 20);
    must(it.all->map(it.plan, none));
    CHECK(it.all->usage() == mapped_usage{.mappings = it.plan.pieces, .bytes = 4 * unit});
    CHECK(it.all->free_mappings() == 20 - it.plan.pieces);
    CHECK(it.all->unmap_added(it.plan));
    CHECK(it.all->usage() == mapped_usage{});
    it.all->roll_back();
    CHECK(it.all->nothing_mapped());

    it.all->begin_change(false);
    must(it.all->map(it.plan, none));
    it.all->keep(std::vector<section_plan>{});
    it.all->begin_change(false);
    must(it.all->unmap(it.plan));
    CHECK(it.all->map_again(it.plan));
    it.all->roll_back();
    CHECK_FALSE(it.all->nothing_mapped());
    CHECK(it.all->usage() == mapped_usage{.mappings = it.plan.pieces, .bytes = 4 * unit});

    it.all->begin_change(false);
    must(it.all->unmap(it.plan));
    it.all->keep(std::vector<section_plan>{it.plan});
    CHECK(it.all->nothing_mapped());
  }
}

TEST_CASE_TEMPLATE("says why it has diverged until it is reset", Granularity, whole_section,
                   fixed_block<64 * KiB>) {
  one_section<Granularity> it{true};
  CHECK_FALSE(it.all->divergence().has_value());
  it.all->diverge(error{"map", errc::over_budget});
  it.all->diverge(error{"unmap", errc::not_mapped});
  REQUIRE(it.all->divergence().has_value());
  CHECK(it.all->divergence()->is(errc::over_budget));
  it.all->reset();
  CHECK_FALSE(it.all->divergence().has_value());
}

}  // namespace runtime_listen_detail_mapped_sections
