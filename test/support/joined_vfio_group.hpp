// SPDX-License-Identifier: BSL-1.0
// A type1 container of the fake kernel with one group joined, whose device can be opened.
#pragma once

#include <tether/backend/vfio/device.hpp>
#include <tether/backend/vfio_type1.hpp>

#include <support/fake_vfio_kernel.hpp>
#include <support/must.hpp>
#include <support/pinned_memory.hpp>

#include <cstddef>

namespace tether_test::joined_vfio_group {

using fake_device = tether::basic_vfio_device<fake_vfio_kernel>;

struct joined {
  joined() : before{tether_test::open_descriptors()} {
    fake_vfio_kernel::start_anew().groups["/dev/vfio/12"] = {};
    group = must(iommu.join(tether::vfio_group{"/dev/vfio/12"}));
  }
  [[nodiscard]] fake_device open() {
    return must(fake_device::open(group->descriptor(), "0000:01:00.0"));
  }

  std::size_t before;
  tether::basic_vfio_type1<fake_vfio_kernel> iommu;
  tether::basic_vfio_type1<fake_vfio_kernel>::joined_group group;
};

}  // namespace tether_test::joined_vfio_group
