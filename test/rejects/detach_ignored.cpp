// SPDX-License-Identifier: BSL-1.0
// What ends something can fail, and what it was to end is still there then.
// expects: ignoring return(ed)? value|nodiscard
// errors: 7
#include <tether/tether.hpp>

#pragma GCC diagnostic error "-Wunused-result"

using namespace tether;

using groups = container<software_iommu>;
using devices = container<iommufd>;

void ends(groups& dma, attached_group<groups>& group, opened_device<groups>& nic,
          attached_device<devices>& alone, vfio_device& physical) {
#ifdef TETHER_CONTROL
  static_cast<void>(group.request_unplug());
  static_cast<void>(nic.close());
  static_cast<void>(group.detach());
  static_cast<void>(alone.request_unplug());
  static_cast<void>(alone.detach());
  static_cast<void>(dma.abandon());
  static_cast<void>(physical.reset());
#else
  group.request_unplug();
  nic.close();
  group.detach();
  alone.request_unplug();
  alone.detach();
  dma.abandon();
  physical.reset();
#endif
}
