// SPDX-License-Identifier: BSL-1.0
// A device is attached by its name, whatever the backend attaches: where that is groups, its group
// comes with the first device and goes with the last, all of it or nothing.
#include <support/fake_sysfs.hpp>
#include <support/fake_vfio_kernel.hpp>
#include <support/iommufd_bench.hpp>
#include <support/must.hpp>
#include <support/passthrough.hpp>
#include <support/skip.hpp>

#include <tether/backend/iommufd.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/listen/progress.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace scenario_attach_by_name {

using namespace tether;
using namespace tether_test;

namespace {

const endpoint nic{"nic"};
const endpoint vgpu{"vgpu", pin_class::pins_on_demand};

template <class Model, class Policy>
void all_or_nothing() {
  auto backend = Model::make();
  if (!backend) return skip_because(backend.error().sentence());
  passthrough<Model, Policy> w{std::move(*backend)};
  const auto before = w.state();
  for (const backend_call what : {backend_call::join, backend_call::map, backend_call::open}) {
    for (std::uint64_t n = 1; what == backend_call::map ? n <= 4 : n <= 1; ++n) {
      CAPTURE(n);
      w.book.clear();
      w.book.fail_at(what, n, error::from_errno("act", EIO));
      const auto failed = w.dma->attach(nic);
      REQUIRE_FALSE(failed);
      CHECK(failed.error().is_errno(EIO));
      CHECK_FALSE(failed.error().rollback_failed());
      CHECK(w.state() == before);
    }
  }
  w.book.clear();
  auto device = must(w.dma->attach(nic));
  CHECK(w.dma->membership().members == 1);
  CHECK(w.disagreements(*device) == 0);
  CHECK(w.dma->attach(nic).error().is(errc::already_there));
  auto other = must(w.dma->attach(vgpu));
  CHECK(w.dma->membership().members == 2);
  must(device.detach());
  CHECK(w.dma->membership().members == 1);
  CHECK(device.detach().error().is(errc::stale_handle));
  CHECK(device.get() == nullptr);
  CHECK(w.disagreements(*other) == 0);
  must(other.detach());
  CHECK(w.state() == before);
  CHECK(w.stale_strikes == 0);
}

}  // namespace

TEST_CASE("an attach by name that fails anywhere leaves nothing: software_iommu") {
  all_or_nothing<on_software, inhibit_per_group>();
}
TEST_CASE("an attach by name that fails anywhere leaves nothing: io_uring_buffers") {
  all_or_nothing<on_io_uring, inhibit_per_group>();
  all_or_nothing<on_io_uring, inhibit_per_device>();
}

TEST_CASE("consent is judged: a device that pins is refused, and its group does not stay") {
  auto backend = on_io_uring::make();
  if (!backend) return skip_because(backend.error().sentence());
  passthrough<on_io_uring> w{std::move(*backend)};
  const auto before = w.state();
  const auto refused = w.dma->attach(nic, agrees_to_discards);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is(errc::consent_refused));
  CHECK(w.state() == before);
  auto agreed = must(w.dma->attach(vgpu, agrees_to_discards));
  CHECK(w.gate.counts() == gate_counts{});
  must(agreed.request_unplug());
  must(agreed.detach());
  CHECK(w.state() == before);
}

TEST_CASE("a rollback that fails makes it diverge, and abandon makes it usable") {
  for (const bool detach_diverges : {false, true}) {
    CAPTURE(detach_diverges);
    passthrough<on_software> w{must(on_software::make())};
    const auto before = w.state();
    w.book.fail_at(backend_call::open, 1, error::from_errno("open", EIO));
    w.book.fail_at(backend_call::leave, 1, error::from_errno("leave", EBUSY));
    if (detach_diverges)  // its own rollback maps again what the attach had mapped
      w.book.fail_at(backend_call::map, 5, error::from_errno("map", ENOMEM));
    const auto failed = w.dma->attach(nic);
    REQUIRE_FALSE(failed);
    CHECK(failed.error().is_errno(EIO));
    CHECK(failed.error().rollback_failed());
    CHECK(w.dma->diverged());
    CHECK(w.dma->attach(nic).error().is(errc::diverged));
    must(w.dma->abandon());
    CHECK(w.state() == before);
    must(must(w.dma->attach(nic)).detach());
  }
}

TEST_CASE("a detach that closed the device and could not detach its group is repeated") {
  passthrough<on_software> w{must(on_software::make())};
  const auto before = w.state();
  auto device = must(w.dma->attach(nic));
  w.book.fail_at(backend_call::leave, 1, error::from_errno("leave", EBUSY));
  CHECK(device.detach().error().is_errno(EBUSY));
  CHECK_FALSE(w.dma->diverged());
  CHECK(device.get() == nullptr);
  CHECK(w.dma->membership().members == 1);
  must(device.detach());
  CHECK(w.state() == before);
  // Or the device is attached again meanwhile: then it is that one's to detach.
  device = must(w.dma->attach(nic));
  w.book.fail_at(backend_call::leave, 1, error::from_errno("leave", EBUSY));
  CHECK_FALSE(device.detach());
  auto again = must(w.dma->attach(nic));
  CHECK(device.detach().error().is(errc::stale_handle));
  CHECK(w.disagreements(*again) == 0);
  must(again.detach());
  CHECK(w.state() == before);
}

TEST_CASE("a lease keeps it attached, and a progress monitor may cancel") {
  passthrough<on_software> w{must(on_software::make())};
  const auto before = w.state();
  struct quits {
    bool keep_going(mapping const&) noexcept { return false; }
  } monitor;
  CHECK_FALSE(w.dma->attach(nic, consent::none, monitor));
  CHECK(w.state() == before);
  auto device = must(w.dma->attach(nic));
  {
    const auto lease = must(device.lease());
    CHECK(device.detach().error().is(errc::still_in_use));
    CHECK(w.disagreements(*device) == 0);
  }
  must(device.detach());
  CHECK(w.state() == before);
}

namespace {

/// Group 12 has two devices, group 13 one.
struct type1_machine {
  using backend_type = basic_vfio_type1<fake_vfio_kernel>;
  fake_vfio& machine = fake_vfio_kernel::start_anew();
  fake_sysfs made;
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  container<backend_type> dma{guest, gate, backend_type{vfio_sysfs{made.root()}}};

  type1_machine() {
    made.add("0000:01:00.0", "pci", "12", "vfio-pci");
    made.add("0000:01:00.1", "pci", "12", "vfio-pci");
    made.add("0000:02:00.0", "pci", "13", "vfio-pci");
    machine.groups["/dev/vfio/12"].is = {.devices = {"0000:01:00.0", "0000:01:00.1"}};
    machine.groups["/dev/vfio/13"].is = {.devices = {"0000:02:00.0"}};
    static_cast<void>(must(guest.place(region::ram(ram), guest_address{0})));
  }
};

}  // namespace

TEST_CASE("devices of one group share it: it comes with the first and goes with the last") {
  type1_machine m;
  auto first = must(m.dma.attach(endpoint{"0000:01:00.0"}));
  auto second = must(m.dma.attach(endpoint{"0000:01:00.1"}));
  auto third = must(m.dma.attach(endpoint{"/dev/vfio/13"}));
  CHECK(first != second);
  CHECK(m.dma.membership().members == 2);
  must(first.detach());
  CHECK(m.dma.membership().members == 2);
  CHECK(m.machine.groups["/dev/vfio/12"].open);
  CHECK(first.detach().error().is(errc::stale_handle));
  must(second.request_unplug());
  CHECK(m.dma.attach(endpoint{"0000:01:00.0"}).error().is(errc::unplug_requested));
  must(second.detach());
  CHECK_FALSE(m.machine.groups["/dev/vfio/12"].open);
  CHECK(m.dma.membership().members == 1);
  must(third.detach());
  CHECK(m.dma.usage() == mapped_usage{});
}

TEST_CASE("a group that was attached by itself stays when a device that came by name goes") {
  type1_machine m;
  auto group = must(m.dma.attach(vfio_group{"/dev/vfio/12"}));
  auto device = must(m.dma.attach(endpoint{"0000:01:00.0"}));
  CHECK(m.dma.membership().members == 1);
  must(device.detach());
  CHECK(m.dma.membership().members == 1);
  CHECK(device.detach().error().is(errc::stale_handle));
  CHECK(group.open("0000:01:00.0").has_value());
  must(group.detach());
}

TEST_CASE("an attach by name tells what is missing, and where") {
  type1_machine m;
  const auto said = [&](const char* name) {
    return m.dma.attach(endpoint{name}).error().sentence();
  };
  CHECK(
      said("0000:09:00.0") ==
      "find IOMMU group of '0000:09:00.0': there is nothing of that name; no such device is under "
      "/sys/bus/pci/devices: lspci -D shows those that are");
  CHECK(said("1:0.0").find("name a PCI address such as 0000:01:00.0") != std::string::npos);
  CHECK(said("/dev/vfio/12").find("it is a group of 2 devices") != std::string::npos);
  fake_vfio_kernel::fail_at(1, EACCES);
  CHECK(said("0000:01:00.0") ==
        "open group of '/dev/vfio/12': Permission denied; give this user the right to open the "
        "group's node");
  fake_vfio_kernel::reset();
  CHECK(passthrough<on_software>{must(on_software::make())}
            .dma->attach(endpoint{})
            .error()
            .sentence() ==
        "find device: there is nothing of that name; give the endpoint a name: any will do, this "
        "backend's devices are emulated");
}

TEST_CASE("a single device is attached by its name, and by its node") {
  iommufd_bench m;
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  static_cast<void>(must(guest.place(region::ram(ram), guest_address{0})));
  container<iommufd_bench::backend_type> dma{guest, gate, m.container()};
  auto by_address = must(dma.attach(endpoint{"0000:02:00.0"}));
  CHECK(dma.attach(endpoint{"/dev/vfio/devices/vfio1"}).error().is(errc::already_there));
  auto by_node = must(dma.attach(endpoint{"/dev/vfio/devices/vfio2"}));
  CHECK(by_node->name() == "0000:03:00.0");
  CHECK(dma.membership().members == 2);
  CHECK(dma.attach(endpoint{"0000:09:00.0"}).error().is(errc::no_such_device));
  must(by_address.detach());
  must(by_node.detach());
  CHECK(dma.usage() == mapped_usage{});
}

}  // namespace scenario_attach_by_name
