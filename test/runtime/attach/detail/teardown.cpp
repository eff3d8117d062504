// SPDX-License-Identifier: BSL-1.0
#include <tether/attach/detail/teardown.hpp>

#include <tether/attach/configuration.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>
#include <tether/topology/region.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

namespace runtime_attach_detail_teardown {

using namespace tether;
using tether_test::must;

namespace {

/// The base of a container, with what it may do laid open.
struct opened : detail::teardown<software_iommu, configuration<software_iommu>> {
  using base = detail::teardown<software_iommu, configuration<software_iommu>>;
  using base::attach_with;
  using base::backend_;
  using base::base;
  using base::let_go_of_everything;
  using base::listener_;
  using base::open;
};

}  // namespace

TEST_CASE("a teardown closes, stops following and unmaps everything, however much is open") {
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  static_cast<void>(must(guest.place(region::ram(ram), guest_address{0})));
  discard_gate<> gate;
  opened dma{guest, gate, software_iommu{}, no_kvm{}};
  const endpoint_group nics{"nics", {{"nic"}}};
  const auto ids = must(dma.attach_with(nics, consent::none, static_cast<unmonitored*>(nullptr)));
  static_cast<void>(must(dma.open(ids.group, "nic", consent::none)));
  REQUIRE(dma.listener_.usage() == mapped_usage{1, 64 * KiB});

  dma.listener_.diverge(error{"unmap", errc::not_mapped});  // as after a rollback that failed
  must(dma.let_go_of_everything());
  CHECK_FALSE(dma.listener_.diverged());
  CHECK(dma.listener_.usage() == mapped_usage{});
  CHECK(dma.backend_.free_mappings() == software_iommu{}.free_mappings());
  // nobody follows any more: a change is not told to it
  static_cast<void>(must(guest.place(region::ram(ram), guest_address{GiB})));
  CHECK(dma.listener_.usage() == mapped_usage{});
}

}  // namespace runtime_attach_detail_teardown
