// SPDX-License-Identifier: BSL-1.0
// One source over each interface that the kernel has: a device is attached by its PCI address, by
// its nodes and by its folder, its group with it where there are groups. And the same from C.
// tier: 1 2
// machine: -device pcie-pci-bridge,id=bridge,addr=8 -device edu,bus=bridge,addr=1 -device edu,bus=bridge,addr=2 -device edu
#include <system/in_machine.hpp>

#include <c_shim/tether_c.h>

#include <filesystem>

namespace system_attached_by_name {

using namespace in_machine;

namespace {

/// The two that share a group, and one that is alone in its own.
struct three {
  std::vector<std::string> together;
  std::string alone;
  three() {
    const auto all = edu::devices();
    REQUIRE(all.size() == 3);
    for (auto const& one : all) {
      const bool shares = std::ranges::any_of(all, [&](auto const& other) {
        return other != one && group_of(other).name() == group_of(one).name();
      });
      if (shares) together.push_back(one);
      else alone = one;
    }
    REQUIRE(together.size() == 2);
  }
};

template <class Backend>
void in_each_way() {
  const three devices;
  ram_block ram = must(ram_block::allocate("ram", 4 * MiB));
  address_space guest;
  discard_gate<> gate;
  balloon balloon{guest, gate};
  static_cast<void>(must(guest.place(region::ram(ram), guest_address{0})));
  container<Backend> dma{guest, gate, must(open_backend<Backend>())};
  const auto before = pinned_now();

  std::vector<std::string> names{devices.alone, "/sys/bus/pci/devices/" + devices.alone,
                                 std::string{group_of(devices.alone).name()}};
  if (const auto node = vfio_sysfs{}.node_of(devices.alone))
    names.push_back("/dev/vfio/devices/" + *node);
  for (std::string const& name : names) {
    CAPTURE(name);
    auto device = must(dma.attach(endpoint{name}));
    CHECK(device->name() == devices.alone);
    CHECK(dma.usage().bytes == 4 * MiB);
    CHECK(balloon.inflate(frame_numbers(0, 4)).inhibited == 4);
    CHECK(dma.attach(endpoint{devices.alone}).error().is(errc::already_there));
    must(device.detach());
    CHECK(gate.counts() == gate_counts{});
    CHECK(balloon.inflate(frame_numbers(0, 4)).discarded == 4);
  }
  CHECK_FALSE(dma.attach(endpoint{devices.alone}, agrees_to_discards));
  CHECK(gate.counts() == gate_counts{});
  CHECK(dma.attach(endpoint{"ffff:ff:1f.7"}).error().is(errc::no_such_device));

  auto first = must(dma.attach(endpoint{devices.together[0]}));
  auto second = must(dma.attach(endpoint{devices.together[1]}));
  CHECK(dma.membership().members == 1);
  must(first.detach());
  CHECK(dma.membership().members == 1);
  CHECK(balloon.inflate(frame_numbers(0, 4)).inhibited == 4);
  must(second.detach());
  CHECK(dma.membership().members == 0);
  CHECK(pinned_now() == before);
}

void from_c(const char* backend) {
  const three devices;
  constexpr std::size_t bytes = 1 * MiB;
  ram_block memory = must(ram_block::allocate("memory", bytes));
  const tether_handle iommu = tether_open(backend);
  INFO(tether_last_error());
  REQUIRE(iommu != 0);
  CHECK(tether_attach(iommu, "ffff:ff:1f.7") == -1);
  CHECK(std::string{tether_last_error()}.find("lspci -D") != std::string::npos);
  REQUIRE(tether_attach(iommu, devices.alone.c_str()) == 0);
  std::array<tether_range, 8> ranges{};
  std::size_t usable = 0;
  REQUIRE(tether_usable_ranges(iommu, ranges.data(), ranges.size(), &usable) == 0);
  CHECK(usable >= 2);  // the window of MSI lies between
  const auto before = pinned_now();
  std::uint64_t at = 0;
  REQUIRE(tether_map(iommu, memory.data(), bytes, TETHER_READ | TETHER_WRITE, &at) == 0);
  CHECK(at != 0);
  CHECK(pinned_now() == before + bytes);
  CHECK(tether_map_at(iommu, memory.data(), bytes, 0xfee00000, TETHER_READ) == -1);
  REQUIRE(tether_unmap(iommu, at) == 0);
  CHECK(tether_map_at(iommu, memory.data(), bytes, 0xfee00000, TETHER_READ) == -1);
  CHECK(std::string{tether_last_error()}.find("the IOMMU cannot translate all of it") !=
        std::string::npos);
  CHECK(pinned_now() == before);
  REQUIRE(tether_close(iommu) == 0);
}

}  // namespace

TEST_CASE("a device is attached by its name, in each way that it is named, over VFIO's container") {
  if (::access("/dev/vfio/vfio", F_OK) != 0) return;
  in_each_way<vfio_type1>();
  from_c("vfio_type1");
}
TEST_CASE("a device is attached by its name, in each way that it is named, over iommufd") {
  if (::access("/dev/iommu", F_OK) != 0 || !vfio_sysfs{}.node_of(edu::devices().front())) return;
  in_each_way<iommufd>();
  from_c("iommufd");
}

}  // namespace system_attached_by_name
