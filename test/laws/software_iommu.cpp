// SPDX-License-Identifier: BSL-1.0
// `software_iommu` under the laws of a backend.
#include <laws/backend.hpp>

#include <tether/backend/software_iommu.hpp>

#include <doctest/doctest.h>

namespace laws_software_iommu {

using namespace tether;

namespace {

struct software_rig {
  using backend_type = software_iommu;
  static result<backend_type> make(laws::limits const& small) {
    return software_iommu{
        {.page_sizes = {tether_test::host_page()}, .usable = small.usable, .budget = small.budget}};
  }
};

}  // namespace

TEST_CASE("software_iommu keeps the laws of a backend") { laws::check_backend<software_rig>(); }

}  // namespace laws_software_iommu
