// SPDX-License-Identifier: BSL-1.0
// A fake machine for `iommufd`: devices that differ where it matters, an open context, and memory
// to map.
#pragma once

#include <support/fake_iommufd_kernel.hpp>
#include <support/fake_sysfs.hpp>
#include <support/must.hpp>
#include <support/pinned_memory.hpp>

#include <tether/backend/iommufd.hpp>

#include <string>
#include <utility>

namespace tether_test {

/// Group 12: a PCI device, its neighbour and a mediated one. Group 13: one with the same IOMMU.
/// Group 14: one with another.
struct iommufd_bench {
  using context_type = tether::basic_iommufd_context<fake_iommufd_kernel>;
  using backend_type = tether::basic_iommufd<fake_iommufd_kernel>;
  using device_type = backend_type::device_type;

  [[nodiscard]] tether::vfio_sysfs sysfs() const { return tether::vfio_sysfs{made.root()}; }
  [[nodiscard]] backend_type container() const {
    return must(backend_type::open(context, sysfs()));
  }
  [[nodiscard]] device_type bound(backend_type& iommu, tether::vfio_cdev const& named) const {
    auto device = must(iommu.open(named));
    must(iommu.bind(device));
    return device;
  }
  [[nodiscard]] device_type joined(backend_type& iommu, tether::vfio_cdev const& named) const {
    auto device = bound(iommu, named);
    must(iommu.join(device));
    return device;
  }

  /// Plugs a device in, and names it.
  tether::vfio_cdev plug(fake_cdev is) {
    is.number = next_++;
    const std::string node = "vfio" + std::to_string(is.number);
    made.add(is.name, is.mediated ? "mdev" : "pci", is.group,
             is.mediated ? "vfio_mdev" : "vfio-pci");
    made.add_node(is.name, node, "510:" + std::to_string(is.number));
    machine.devices["/dev/vfio/devices/" + node].is = std::move(is);
    return tether::vfio_cdev{"/dev/vfio/devices/" + node, sysfs()};
  }

 private:
  unsigned next_ = 0;

 public:
  fake_iommufd& machine = fake_iommufd_kernel::start_anew();
  fake_sysfs made{};
  tether::vfio_cdev edu = plug({});
  tether::vfio_cdev nic = plug({.name = "0000:02:00.0", .group = "13"});
  tether::vfio_cdev gpu = plug({.name = "0000:03:00.0", .group = "14", .iommu = 1});
  tether::vfio_cdev mate = plug({.name = "0000:01:00.1"});
  tether::vfio_cdev mtty = plug({.name = "some-uuid", .mediated = true});
  host_memory memory{64 * tether::KiB};
  context_type context = must(context_type::open());
};

}  // namespace tether_test
