// SPDX-License-Identifier: BSL-1.0
#include <tether/attach/detail/tasks.hpp>

#include <tether/backend/emulated/endpoint_group.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/inhibit/policies.hpp>

#include <support/must.hpp>
#include <support/ungrouped.hpp>

#include <doctest/doctest.h>

namespace runtime_attach_detail_tasks {

using namespace tether;
using namespace tether::detail;
using namespace tether_test;

TEST_CASE(
    "a step's end is done, failed or stuck as its error says, and the first error is the one that "
    "is told") {
  detail::group_record<software_iommu, inhibit_per_group> group{1, "group"};
  detail::group_task<software_iommu, inhibit_per_group> task{{group}};
  using ended = decltype(task.end({}));
  CHECK(task.end({}) == ended::done);
  CHECK_FALSE(task.first_error);
  CHECK(task.end(failure(error{"first", errc::overlaps})) == ended::failed);
  CHECK(task.end(failure(error{"second", errc::not_mapped}.with_failed_rollback())) ==
        ended::stuck);
  REQUIRE(task.first_error);
  CHECK((*task.first_error).is(errc::overlaps));
}

TEST_CASE(
    "a group's task keeps what the backend answered exactly as long as it is joined or open") {
  software_iommu iommu;
  detail::group_record<software_iommu, inhibit_per_group> group{1, "nics"};
  detail::device_record<software_iommu> device{2, "nic", consent::none};
  const endpoint_group description{"nics", {{"nic"}}};
  detail::group_task<software_iommu, inhibit_per_group> task{{.group = group, .device = &device},
                                                             &description};
  must(task.join(iommu));
  REQUIRE(group.joined.has_value());
  CHECK(must(task.classify(iommu)) == pin_class::pins);
  must(task.open(iommu));
  CHECK(device.device.has_value());
  CHECK_FALSE(task.leave<false>(iommu));
  CHECK(group.joined.has_value());
  must(task.close(iommu));
  must(task.leave<false>(iommu));
  CHECK_FALSE(group.joined.has_value());
}

TEST_CASE("a device's task keeps the device that was opened, and nothing of one that was not") {
  using backend_type = ungrouped<software_iommu>;
  backend_type iommu{software_iommu{}};
  detail::group_record<backend_type, inhibit_per_group> group{1, "9"};
  detail::device_record<backend_type> device{2, "vgpu", consent::given};
  const lone_endpoint description = lone_vgpu();
  detail::device_task<backend_type, inhibit_per_group> task{
      {.group = group, .device = &device, .agrees = device.agrees}, &description};
  CHECK(must(task.classify(iommu)) == pin_class::pins_on_demand);
  CHECK_FALSE(device.device.has_value());
  must(task.open(iommu));
  REQUIRE(device.device.has_value());
  CHECK_FALSE(task.join(iommu));  // not bound yet
  must(task.bind(iommu));
  must(task.join(iommu));
  must(task.leave<false>(iommu));
  must(task.close(iommu));
}

}  // namespace runtime_attach_detail_tasks
