// SPDX-License-Identifier: BSL-1.0
// What stands in for what a refused container lacks; that its uses add no error is for
// test/rejects/ to show.
#include <tether/attach/detail/refused_container.hpp>

#include <tether/backend/iommufd.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/granule/edges.hpp>
#include <tether/inhibit/policies.hpp>

#include <type_traits>

namespace tether::detail {
namespace {

struct nothing {};

// The backend that was meant, wherever it stands.
template <class... Given>
using meant_by = typename meant_backend<Given...>::type;
static_assert(std::is_same_v<meant_by<software_iommu, trim_edges>, software_iommu>);
static_assert(std::is_same_v<meant_by<trim_edges, no_inhibition, software_iommu>, software_iommu>);
static_assert(std::is_same_v<meant_by<nothing, trim_edges>, nothing>);
static_assert(std::is_same_v<meant_by<int>, int>);

static_assert(std::is_same_v<device_of<software_iommu>::type, software_iommu::device_type> &&
              std::is_same_v<device_of<nothing>::type, unknown>);
static_assert(std::is_same_v<attachable_of<software_iommu>::type, software_iommu::group_type> &&
              std::is_same_v<attachable_of<iommufd>::type, iommufd::endpoint_type> &&
              std::is_same_v<attachable_of<nothing>::type, unknown>);

}  // namespace
}  // namespace tether::detail
