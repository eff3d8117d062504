// SPDX-License-Identifier: BSL-1.0
#include <tether/listen/detail/section_plan.hpp>

#include <tether/granule/edges.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <system_error>
#include <vector>

namespace runtime_listen_detail_section_plan {

using namespace tether;
using namespace tether::detail;
using tether_test::must;

namespace {

constexpr page_sizes pages{4 * KiB};
const std::vector<extent<io_address>> everywhere{{io_address{0}, io_address{0xffff'ffff'ffff}}};

section at(ram_block& block, std::uint64_t first, std::uint64_t offset, std::uint64_t size,
           region_kind kind = region_kind::ram) {
  return {.where = {guest_address{first}, guest_address{first + size - 1}},
          .memory = &block.backing(),
          .offset = block_offset{offset},
          .kind = kind,
          .name = "ram"};
}

}  // namespace

TEST_CASE(
    "a mapping has the section's place, memory and rights, and a BAR is device memory whatever "
    "lies behind it") {
  ram_block block = must(ram_block::allocate("ram", 64 * KiB, memory_kind::shared));
  section one = at(block, 0x10000, 0x2000, 0x3000);
  CHECK(mapping_of(one) == mapping{{io_address{0x10000}, io_address{0x12fff}},
                                   block.host() + 0x2000,
                                   access::read_write,
                                   memory_kind::shared});
  one.kind = region_kind::rom;
  CHECK(mapping_of(one).rights == access::read);
  one.kind = region_kind::ram_device;
  CHECK(mapping_of(one).memory == memory_kind::device);
  one.read_only = true;
  CHECK(mapping_of(one).rights == access::read);
}

TEST_CASE(
    "a plan is cut on the grid of the block, counted from where the trimmed section begins in it") {
  ram_block block = must(ram_block::allocate("ram", 256 * KiB));
  const auto plan =
      plan_section<fixed_block<64 * KiB>>(at(block, 0x1000'0800, 0xf800, 0x10800), pages);
  CHECK(plan.fit.how == fitting::verdict::trimmed);
  CHECK(plan.fit.trimmed == 0x800);
  CHECK(plan.offset == block_offset{0x10000});
  CHECK(plan.fit.inside.where.first == io_address{0x1000'1000});
  CHECK(plan.pieces == 1);
  const auto across =
      plan_section<fixed_block<64 * KiB>>(at(block, 0x1000'0000, 0xf000, 0x12000), pages);
  CHECK(across.pieces == 3);
  CHECK(plan_section<whole_section>(at(block, 0x1000'0000, 0xf000, 0x12000), pages).pieces == 1);
}

TEST_CASE("the same section and sizes give the same plan, so nothing need be remembered") {
  ram_block block = must(ram_block::allocate("ram", 256 * KiB));
  const section one = at(block, 0x1000'0800, 0xf800, 0x10800);
  const auto a = plan_section<fixed_block<4 * KiB>>(one, pages);
  const auto b = plan_section<fixed_block<4 * KiB>>(one, pages);
  CHECK(a.pieces == b.pieces);
  CHECK(a.fit.inside == b.fit.inside);
  CHECK(a.offset == b.offset);
}

TEST_CASE(
    "what devices never see is planned as nothing and passes; a window is planned as nothing and "
    "refused") {
  const section registers{.where = {guest_address{0}, guest_address{0xfff}},
                          .kind = region_kind::mmio,
                          .name = "registers"};
  const auto plan = plan_section<whole_section>(registers, pages);
  CHECK(plan.pieces == 0);
  CHECK(check_plan<whole_section, refuse_edges>(plan, pages, everywhere));
  section window = registers;
  window.kind = region_kind::iommu_window;
  const auto refused = check_plan<whole_section, trim_edges>(
      plan_section<whole_section>(window, pages), pages, everywhere);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is(errc::unsupported));
}

TEST_CASE(
    "a plan must lie in one usable range: two that touch do not combine, and none at all reaches "
    "nothing") {
  ram_block block = must(ram_block::allocate("ram", 64 * KiB));
  const auto plan = plan_section<whole_section>(at(block, 0x1000, 0, 0x2000), pages);
  const std::vector<extent<io_address>> touching{{io_address{0}, io_address{0x1fff}},
                                                 {io_address{0x2000}, io_address{0xffff}}};
  CHECK(check_plan<whole_section, trim_edges>(plan, pages, everywhere));
  CHECK(check_plan<whole_section, trim_edges>(plan, pages, touching)
            .error()
            .is(errc::outside_aperture));
  CHECK(check_plan<whole_section, trim_edges>(plan, pages, {}).error().is(errc::outside_aperture));
}

TEST_CASE(
    "the block that fits is the smallest power of two with which all plans take no more than there "
    "are") {
  ram_block block = must(ram_block::allocate("ram", 256 * KiB));
  const std::vector<section_plan> plans{
      plan_section<fixed_block<4 * KiB>>(at(block, 0, 0, 0x20000), pages),
      plan_section<fixed_block<4 * KiB>>(at(block, 0x100000, 0x21000, 0x1000), pages),
      section_plan{}};
  for (std::uint64_t available = 0; available < 40; ++available) {
    CAPTURE(available);
    std::uint64_t expected = 0;
    for (std::uint64_t size = 4 * KiB; size != 0 && expected == 0; size <<= 1) {
      std::uint64_t pieces = 0;
      for (std::uint64_t byte = 0; byte < 0x20000; byte += 4 * KiB)
        pieces += byte % size == 0 ? 1U : 0U;
      if (pieces + 1 <= available) expected = size;
    }
    CHECK(block_that_fits(plans, available) == expected);
  }
  CHECK(over_budget(plans[0], 8 * KiB).sentence().find("use blocks of 8192 bytes") !=
        std::string::npos);
  CHECK(over_budget(plans[0], 0).sentence().find("mapping limit") != std::string::npos);
}

TEST_CASE(
    "only another device's BAR may be left out, and not because somebody cancelled or something is "
    "stuck") {
  ram_block block = must(ram_block::allocate("ram", 64 * KiB));
  const error why = error::from_errno("map", EFAULT);
  const section_plan bar{.what = at(block, 0, 0, 0x1000, region_kind::ram_device)};
  CHECK(may_be_left_out(bar, why));
  CHECK_FALSE(may_be_left_out(bar, why.with_failed_rollback()));
  CHECK_FALSE(
      may_be_left_out(bar, error{"map", std::make_error_code(std::errc::operation_canceled)}));
  CHECK_FALSE(may_be_left_out({.what = at(block, 0, 0, 0x1000)}, why));
}

}  // namespace runtime_listen_detail_section_plan
