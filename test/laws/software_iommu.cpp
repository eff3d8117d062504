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

TEST_CASE("what a law prints of an answer is its cause, and whether the roll-back failed") {
  const error why{"map", errc::overlaps};
  CHECK(laws::told(result<void>{}) == laws::success);
  CHECK(laws::told(result<void>{failure(why)}) == laws::told(errc::overlaps));
  CHECK(laws::told(errc::overlaps) == "tether: something is there already");
  CHECK(laws::told(errc::overlaps) != laws::told(errc::over_budget));
  CHECK(laws::told(result<void>{failure(why.with_failed_rollback())}) ==
        "tether: something is there already, and the roll-back failed");
}

}  // namespace laws_software_iommu
