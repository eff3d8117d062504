// SPDX-License-Identifier: BSL-1.0
// What is left, by itself; test/scenario/views_outlive_their_container.cpp has the whole.
#include <tether/attach/detail/remains.hpp>

#include <tether/attach/configuration.hpp>
#include <tether/backend/vfio_type1.hpp>

#include <support/fake_vfio_kernel.hpp>
#include <support/must.hpp>
#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <list>
#include <optional>
#include <string>
#include <utility>

namespace runtime_attach_detail_remains {

using namespace tether;
using tether_test::fake_vfio_kernel;
using tether_test::must;

namespace {

using backend_type = basic_vfio_type1<fake_vfio_kernel>;
using configuration_type = configuration<backend_type, inhibit_per_group>;
using record = detail::group_record<backend_type, inhibit_per_group>;
using remains_type = detail::remains<backend_type, configuration_type>;

/// A group with an open device, by hand.
struct attached {
  attached() {
    fake_vfio_kernel::start_anew().groups["/dev/vfio/1"].is = {};
    record& group = groups.emplace_back(1, "/dev/vfio/1");
    group.joined = must(iommu.join(vfio_group{"/dev/vfio/1"}));
    auto& one = group.devices.emplace_back(2, "0000:01:00.0", consent::none);
    one.device.emplace(must(iommu.open(*group.joined, one.name)));
    must(gate.raise(group.held, hold_kind::any, 1));
  }
  ~attached() {
    for (record& group : groups) gate.lower(group.held, group.held.count());
  }
  attached(attached const&) = delete;
  attached& operator=(attached const&) = delete;
  auto& device() { return *groups.front().devices.front().device; }

  discard_gate<> gate;
  backend_type iommu{vfio_sysfs{"/nonexistent"}};
  no_kvm kvm;
  std::list<record> groups;
  detail::no_hold_entry none{"container"};
};

}  // namespace

TEST_CASE("without a view there is nothing to wait for, and everything stays where it is") {
  attached all;
  remains_type nobody{all.gate};
  CHECK_FALSE(nobody.awaits(all.iommu, all.groups));
  CHECK(all.groups.size() == 1);
  CHECK(all.gate.counts().any_holds == 1);
  must(all.iommu.close(all.device()));
}

TEST_CASE("what is taken over goes with the last view, or at once where that has just ended") {
  for (const bool before : {false, true}) {
    attached all;
    std::optional view{must(all.device().map_bar(0))};
    auto* const left = new remains_type{all.gate};
    REQUIRE(left->awaits(all.iommu, all.groups));
    if (before) view.reset();
    left->take_over(all.iommu, all.kvm, all.groups, all.none, {});
    CHECK(all.groups.empty());
    CHECK(all.gate.counts().any_holds == (before ? 0U : 1U));
    view.reset();
    CHECK(all.gate.counts() == gate_counts{});
    CHECK(fake_vfio_kernel::machine().files.empty());
  }
}

TEST_CASE("what the kernel does not let go of is said, with its own words") {
  const auto ended = tether_test::in_a_child(
      [] { detail::say_kept(error{"abandon", errc::still_in_use}.of("/dev/vfio/12")); });
  CHECK(ended.exit_code == 0);
  CHECK(ended.said.find("tether[D2]") != std::string::npos);
  CHECK(ended.said.find("/dev/vfio/12") != std::string::npos);
}

}  // namespace runtime_attach_detail_remains
