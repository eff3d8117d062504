// SPDX-License-Identifier: BSL-1.0
// Machines of the fake kernels with devices whose BARs can be mapped, one for each VFIO backend: for
// tests that are the same on both.
#pragma once

#include <tether/backend/iommufd.hpp>
#include <tether/backend/vfio_type1.hpp>

#include <support/fake_vfio_kernel.hpp>
#include <support/iommufd_bench.hpp>
#include <support/must.hpp>

#include <cstddef>
#include <string>

namespace tether_test {

/// Two groups with a device each, on VFIO's own container.
struct on_type1 {
  using kernel = fake_vfio_kernel;
  using backend_type = tether::basic_vfio_type1<kernel>;

  on_type1() {
    auto& machine = kernel::start_anew();
    machine.groups["/dev/vfio/1"].is = {};
    machine.groups["/dev/vfio/2"].is = {.devices = {"0000:02:00.0"}};
  }
  static backend_type make() { return backend_type{tether::vfio_sysfs{"/nonexistent"}}; }
  template <class Container>
  static auto view(Container& dma, bool other = false) {
    auto group = must(dma.attach(tether::vfio_group{other ? "/dev/vfio/2" : "/dev/vfio/1"}));
    auto device = must(group.open(other ? "0000:02:00.0" : "0000:01:00.0"));
    return must(device->map_bar(0));
  }
  template <class Container>
  static auto attach_other(Container& dma) {
    return dma.attach(tether::vfio_group{"/dev/vfio/2"});
  }
  [[nodiscard]] static std::size_t mappings() { return kernel::machine().mapped().size(); }
  [[nodiscard]] static bool has_nothing() { return kernel::machine().files.empty(); }
};

/// The same, where an iommufd stands in for VFIO's container.
struct on_type1_over_iommufd : on_type1 {
  on_type1_over_iommufd() { kernel::machine().is_iommufd = true; }
};

/// The same devices, each with a node of its own, on iommufd.
struct on_iommufd {
  using kernel = fake_iommufd_kernel;
  using backend_type = iommufd_bench::backend_type;

  iommufd_bench bench;
  [[nodiscard]] backend_type make() const { return bench.container(); }
  template <class Container>
  auto view(Container& dma, bool other = false) {
    auto device = must(dma.attach(other ? bench.nic : bench.edu));
    return must(device->map_bar(0));
  }
  template <class Container>
  auto attach_other(Container& dma) {
    return dma.attach(bench.nic);
  }
  [[nodiscard]] static std::size_t mappings() { return kernel::machine().areas(); }
  [[nodiscard]] bool has_nothing() const {
    return bench.machine.seen().find("space") == std::string::npos;
  }
};

}  // namespace tether_test
