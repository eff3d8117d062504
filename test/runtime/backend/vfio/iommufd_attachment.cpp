// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/vfio/iommufd_attachment.hpp>

#include <tether/backend/vfio/device_state.hpp>

#include <support/fake_vfio_kernel.hpp>

#include <doctest/doctest.h>

namespace runtime_backend_vfio_iommufd_attachment {

using namespace tether;

TEST_CASE("of a device that has only been opened nothing is known: it pins, and is not bound") {
  const detail::vfio_device_state<tether_test::fake_vfio_kernel> opened;
  CHECK(opened.attachment.pins == pin_class::pins);
  CHECK(opened.attachment.context == nullptr);
  CHECK(opened.attachment.page_table == 0);
  CHECK(opened.attachment.group.empty());
}

}  // namespace runtime_backend_vfio_iommufd_attachment
