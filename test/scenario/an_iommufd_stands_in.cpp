// SPDX-License-Identifier: BSL-1.0
// Where Linux was built so, /dev/vfio/vfio is an iommufd: a group that joins pins nothing and brings
// no limits, its first open device does both. What tether says of it must be right at either time.
#include <tether/attach/container.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/fake_sysfs.hpp>
#include <support/fake_vfio_kernel.hpp>
#include <support/may_discard.hpp>
#include <support/must.hpp>
#include <support/pinned_memory.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace scenario_an_iommufd_stands_in {

using namespace tether;
using tether_test::fake_vfio_kernel;
using tether_test::may_discard;
using tether_test::must;

namespace {

constexpr auto other_ioas = _IO(';', 0x88);

/// Remembers what it is told of pinning.
struct pin_log {
  using slot = observation_slot;
  std::vector<bool> told;
  void pinning(bool everything) noexcept { told.push_back(everything); }
};

/// A guest, and two groups of a device each behind IOMMUs of their own.
struct world {
  tether_test::fake_vfio& machine = anew();
  tether_test::fake_sysfs sysfs;
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  region_id id = must(guest.place(region::ram(ram), guest_address{0}));
  vfio_group edu{"/dev/vfio/1"};
  vfio_group nic{"/dev/vfio/2"};
  std::optional<container<basic_vfio_type1<fake_vfio_kernel>, pin_log>> dma;

  world() {
    sysfs.add("0000:01:00.0", "pci", "1", "vfio-pci");
    sysfs.add("0000:02:00.0", "pci", "2", "vfio-pci");
    dma.emplace(guest, gate, basic_vfio_type1<fake_vfio_kernel>{vfio_sysfs{sysfs.root()}});
  }
  static tether_test::fake_vfio& anew() {
    auto& machine = fake_vfio_kernel::start_anew();
    machine.is_iommufd = true;
    machine.groups["/dev/vfio/1"].is = {};
    machine.groups["/dev/vfio/2"].is = {.devices = {"0000:02:00.0"},
                                        .usable = {{io_address{0}, io_address{0xffff'ffff}}}};
    return machine;
  }
  [[nodiscard]] bool everything_is_usable() const {
    return dma->usable_iova() == std::vector{extent<io_address>::everything()};
  }
  [[nodiscard]] std::uint64_t last_usable() const { return dma->usable_iova().back().last.value; }
};

}  // namespace

TEST_CASE("limits and pins come with the first device that is open, and go with the last") {
  world w;
  auto edus = must(w.dma->attach(w.edu));
  CHECK(w.everything_is_usable());
  CHECK_FALSE(may_discard(w.gate, discard_kind::uncoordinated));  // before anything is pinned
  CHECK(w.machine.locked() == 0);
  auto edu = must(edus.open("0000:01:00.0"));
  CHECK(w.last_usable() == 0x7f'ffff'ffff);
  CHECK(w.machine.locked() == w.ram.size());
  auto nics = must(w.dma->attach(w.nic));
  CHECK(w.last_usable() == 0x7f'ffff'ffff);
  auto nic = must(nics.open("0000:02:00.0"));
  CHECK(w.last_usable() == 0xffff'ffff);
  must(edu.close());
  must(nic.close());
  CHECK(w.everything_is_usable());
  CHECK(w.dma->observer().told == std::vector{false, true, true, true, true, false});
  must(edus.detach());
  must(nics.detach());
  CHECK(w.dma->usage() == mapped_usage{});
  CHECK(may_discard(w.gate, discard_kind::uncoordinated));
}

TEST_CASE("a device whose IOMMU does not reach what is mapped is refused by that name") {
  world w;
  auto nics = must(w.dma->attach(w.nic));
  ram_block high = must(ram_block::allocate("high", 64 * KiB));
  const auto far = must(w.guest.place(region::ram(high), guest_address{1ULL << 32}));
  const auto usage = w.dma->usage();
  const auto refused = nics.open("0000:02:00.0");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is(errc::outside_aperture));
  CHECK(refused.error().subject() == "0000:02:00.0");
  CHECK(w.everything_is_usable());
  CHECK(w.dma->usage() == usage);
  must(w.guest.remove(far));
  static_cast<void>(must(nics.open("0000:02:00.0")));
  const auto beyond = w.guest.place(region::ram(high), guest_address{1ULL << 32});
  REQUIRE_FALSE(beyond);
  CHECK(beyond.error().is(errc::outside_aperture));
}

TEST_CASE("past the locked-memory limit a device is refused with the number that is enough") {
  world w;
  w.machine.lockable = 60 * KiB;
  auto edus = must(w.dma->attach(w.edu));
  const auto refused = edus.open("0000:01:00.0");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is_errno(ENOMEM));
  const std::uint64_t enough = refused.error().number() * KiB;
  CHECK(enough >= w.ram.size());
  w.machine.lockable = enough;
  static_cast<void>(must(edus.open("0000:01:00.0")));
}

TEST_CASE("limits that cannot be read leave the device closed") {
  world w;
  auto edus = must(w.dma->attach(w.edu));
  w.machine.refusals[VFIO_IOMMU_GET_INFO] = EIO;
  CHECK(edus.open("0000:01:00.0").error().is_errno(EIO));
  CHECK(w.machine.groups["/dev/vfio/1"].devices_open == 0);
  w.machine.refusals.clear();
  must(edus.detach());
}

TEST_CASE("the kernel would let a group leave with an open device: tether does not") {
  fake_vfio_kernel::start_anew();
  auto& machine = world::anew();
  basic_vfio_type1<fake_vfio_kernel> iommu{vfio_sysfs{"/nonexistent"}};
  auto group = must(iommu.join(vfio_group{"/dev/vfio/1"}));
  const auto other = must(iommu.join(vfio_group{"/dev/vfio/2"}));
  auto device = must(iommu.open(group, "0000:01:00.0"));
  const auto stays = iommu.leave(group);
  REQUIRE_FALSE(stays);
  CHECK(stays.error().is(errc::still_in_use));
  CHECK(iommu.abandon().error().is(errc::still_in_use));
  must(iommu.close(device));
  must(iommu.leave(group));
  CHECK(machine.groups["/dev/vfio/1"].in == nullptr);
}

TEST_CASE("VFIO's own container is not taken for one, whatever its limit of mappings is") {
  world w;
  w.machine.is_iommufd = false;
  w.machine.entry_limit = ~std::uint32_t{0};
  auto edus = must(w.dma->attach(w.edu));
  CHECK(w.last_usable() == 0x7f'ffff'ffff);
  CHECK(w.dma->observer().told == std::vector{true});
  CHECK(std::ranges::count(w.machine.requests, other_ioas) == 1);
  must(edus.detach());
  w.machine.entry_limit = 65535;
  w.machine.requests.clear();
  edus = must(w.dma->attach(w.edu));
  CHECK(std::ranges::count(w.machine.requests, other_ioas) == 0);  // asked only where it may be one
  must(edus.detach());
}

}  // namespace scenario_an_iommufd_stands_in
