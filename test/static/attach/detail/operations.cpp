// SPDX-License-Identifier: BSL-1.0
#include <tether/attach/detail/operations.hpp>

#include <tether/attach/configuration.hpp>
#include <tether/backend/iommufd.hpp>
#include <tether/backend/software_iommu.hpp>

#include <type_traits>

namespace tether::detail {
namespace {

// The backend's unit decides, and what `attach` takes goes with it.
using of_groups = configuration<software_iommu>;
using of_devices = configuration<iommufd>;
static_assert(std::is_base_of_v<group_operations<software_iommu, of_groups>,
                                operations_of<software_iommu, of_groups>>);
static_assert(
    std::is_base_of_v<device_operations<iommufd, of_devices>, operations_of<iommufd, of_devices>>);
// What is below comes at no cost of room.
static_assert(sizeof(operations_of<software_iommu, of_groups>) ==
              sizeof(group_operations<software_iommu, of_groups>));
static_assert(std::is_same_v<source_of<software_iommu>::type, endpoint_group>);
static_assert(std::is_same_v<source_of<iommufd>::type, vfio_cdev>);

}  // namespace
}  // namespace tether::detail
