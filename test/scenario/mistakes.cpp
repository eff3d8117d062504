// SPDX-License-Identifier: BSL-1.0
// Mistakes that are made when a program runs, each made here, and the sentence that it meets. The
// table of include/tether/README.md is these, word by word.
#include <tether/attach/container.hpp>
#include <tether/backend/iommufd.hpp>
#include <tether/backend/mapped_buffers.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/discard/virtio_mem.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/fake_sysfs.hpp>
#include <support/fake_vfio_kernel.hpp>
#include <support/iommufd_bench.hpp>
#include <support/must.hpp>
#include <support/skip.hpp>
#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace scenario_mistakes {

using namespace tether;
using namespace tether_test;

namespace {

/// A mistake, and what it met.
struct met {
  std::string mistake;
  std::string sentence;
};

class all_mistakes {
 public:
  template <class T>
  void refused(const char* mistake, result<T> const& answer) {
    found_.push_back({mistake, answer ? "(it was not refused)" : answer.error().sentence()});
  }
  template <class Act>
  void stops(const char* mistake, Act act) {
    std::string said = stopped_by(act);
    if (said.ends_with('\n')) said.pop_back();
    found_.push_back({mistake, said});
  }
  [[nodiscard]] std::vector<met> const& found() const noexcept { return found_; }

 private:
  std::vector<met> found_;
};

const endpoint_group soft{"nic", {{"eth0", pin_class::pins_on_demand}}};
using soft_container = container<software_iommu>;
using type1 = basic_vfio_type1<fake_vfio_kernel>;

/// A guest with one block.
struct small_guest {
  ram_block ram = must(ram_block::allocate("ram", 448 * KiB));
  address_space guest;
  discard_gate<> gate;
  small_guest() { static_cast<void>(must(guest.place(region::ram(ram), guest_address{0}))); }
};

void devices(all_mistakes& all) {
  auto& machine = fake_vfio_kernel::start_anew();
  fake_sysfs made;
  const vfio_sysfs sysfs{made.root()};
  small_guest g;
  container<type1> dma{g.guest, g.gate, type1{sysfs}};
  const vfio_group twelve{"/dev/vfio/12"};
  all.refused("a group, and no IOMMU is on", dma.attach(twelve));
  all.refused("a device by its group's node, and no IOMMU is on",
              dma.attach(endpoint{"/dev/vfio/12"}));
  made.add("0000:01:00.0", "pci", "12", "nvme");
  all.refused("a group, and VFIO is not loaded", dma.attach(twelve));
  made.add("0000:02:00.0", "pci", "13", "vfio-pci");
  all.refused("a group with nothing bound to VFIO", dma.attach(twelve));
  all.refused("a group that is not there", dma.attach(vfio_group{"/dev/vfio/99"}));
  all.refused("a group that is bound, in an OS container that was not given its node",
              dma.attach(vfio_group{"/dev/vfio/13"}));
  all.refused("a device by its own node, which is not there",
              dma.attach(endpoint{"/dev/vfio/devices/vfio0"}));
  all.refused("a PCI address that is not there", vfio_group::of("0000:09:00.0", sysfs));
  all.refused("a PCI address without its domain", vfio_group::of("02:00.0", sysfs));
  made.add("0000:03:00.0", "pci", "14");
  made.add_group_node("noiommu-14", "509:14");
  all.refused("a device of VFIO's no-IOMMU mode", vfio_group::of("0000:03:00.0", sysfs));
  made.add("0000:02:00.1", "pci", "13", "nvme");
  machine.groups["/dev/vfio/13"].is = {.viable = false};
  all.refused("a group of which a device is the host's", dma.attach(vfio_group{"/dev/vfio/13"}));
  machine.groups["/dev/vfio/13"].is = {.devices = {"0000:02:00.0"}};
  machine.lockable = 64 * KiB;
  all.refused("a locked-memory limit below the guest's memory (type1)",
              dma.attach(vfio_group{"/dev/vfio/13"}));
  machine.lockable = 1 * MiB;
  auto group = must(dma.attach(vfio_group{"/dev/vfio/13"}));
  all.refused("the same group twice", dma.attach(vfio_group{"/dev/vfio/13"}));
  auto device = must(group.open("0000:02:00.0"));
  const ram_block divided = must(ram_block::allocate("dimm", 4 * MiB));
  must(divide(divided, 2 * MiB));
  all.refused("virtio-mem beside a container that maps whole sections",
              virtio_mem<>::create("dimm", divided, guest_address{64 * MiB}, g.gate));
  all.refused("a reset of a device that has none", device->reset());
  must(group.detach());
  all.refused("a group detached twice", group.detach());
  all.refused("a device opened in a group that was detached", group.open("0000:02:00.0"));
}

void buffers(all_mistakes& all) {
  fake_vfio_kernel::start_anew();
  const ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  type1 unjoined;
  auto early = must(mapped_buffers<type1>::over(unjoined));
  all.refused("a buffer mapped before a group has joined", early.map({ram.data(), 8 * KiB}));
  software_iommu iommu;
  auto small = must(mapped_buffers<software_iommu>::over(iommu, io_address{8 * KiB - 1}));
  all.refused("a buffer too large for the device's DMA mask", small.map({ram.data(), 8 * KiB}));
  auto whole = must(mapped_buffers<software_iommu>::over(iommu));
  all.refused("a buffer at an address that interrupts have",
              whole.map_at(io_address{0xfee0'0000}, {ram.data(), 8 * KiB}));
}

void single_devices(all_mistakes& all) {
  iommufd_bench b;
  small_guest g;
  using backend = iommufd_bench::backend_type;
  container<backend> one{g.guest, g.gate, b.container()};
  container<backend> other{g.guest, g.gate, b.container()};
  const fake_sysfs bare;
  b.machine.there = false;
  all.refused("iommufd, and no IOMMU is on", backend::open(vfio_sysfs{bare.root()}));
  b.machine.there = true;
  b.machine.lockable = 64 * KiB;
  all.refused("a locked-memory limit below the guest's memory (iommufd)", one.attach(b.edu));
  b.machine.lockable = 1 * MiB;
  auto device = must(one.attach(b.edu));
  all.refused("a device in a second container", other.attach(b.edu));
  must(device.detach());
}

void memory(all_mistakes& all) {
  all.refused("a block that no address space holds",
              ram_block::allocate("ram", std::uint64_t{1} << 50));
  small_guest g;
  const region of_other = [] {
    ram_block moved = must(ram_block::allocate("moved", 64 * KiB));
    const ram_block kept = std::move(moved);
    return region::ram(moved).named("low");
  }();
  all.refused("RAM placed by a block that was moved from",
              g.guest.place(of_other, guest_address{16 * MiB}));
  all.refused("RAM placed over RAM that asked to lie alone",
              g.guest.place(region::ram(g.ram).named("dimm").exclusive(), guest_address{64 * KiB}));
  discard_gate<> another;
  const soft_container dma{g.guest, g.gate};
  soft_container elsewhere{g.guest, another};
  all.refused("a container at another gate than the guest's", elsewhere.attach(soft));
}

void order(all_mistakes& all) {
  all.stops("a block destroyed while it is placed", [] {
    address_space guest;
    ram_block dimm = must(ram_block::allocate("dimm", 64 * KiB));
    static_cast<void>(must(guest.place(region::ram(dimm).named("below 4 GiB"), guest_address{0})));
  });
  all.stops("a block used after it was moved from", [] {
    ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
    const ram_block kept = std::move(ram);
    static_cast<void>(ram.size());
  });
  all.stops("a gate destroyed before a hold", [] {
    auto gate = std::make_unique<discard_gate<>>();
    auto hold = gate->hold(hold_kind::any, "migration");
    gate.reset();
  });
  all.stops("an address space destroyed before a container", [] {
    ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
    auto guest = std::make_unique<address_space>();
    static_cast<void>(must(guest->place(region::ram(ram), guest_address{0})));
    discard_gate<> gate;
    soft_container dma{*guest, gate};
    static_cast<void>(must(dma.attach(soft)));
    guest.reset();
  });
  all.stops("transactions ended in the order in which they began", [] {
    address_space guest;
    alignas(transaction) static std::byte outer[sizeof(transaction)];
    auto* const first = new (outer) transaction{guest.begin()};
    const transaction second = guest.begin();
    first->~transaction();
  });
  all.stops("a backend given to two containers", [] {
    address_space guest;
    discard_gate<> gate;
    software_iommu iommu;
    const soft_container one{guest, gate, std::move(iommu)};
    const soft_container two{guest, gate, std::move(iommu)};
  });
  all.stops("a container destroyed under a lease", [] {
    small_guest g;
    auto dma = std::make_unique<soft_container>(g.guest, g.gate);
    auto group = must(dma->attach(soft));
    auto device = must(group.open("eth0"));
    const auto lease = must(device.lease());
    dma.reset();
  });
  all.stops("a device used after it was closed", [] {
    small_guest g;
    soft_container dma{g.guest, g.gate};
    auto group = must(dma.attach(soft));
    auto device = must(group.open("eth0"));
    must(device.close());
    static_cast<void>(device->dma_read(io_address{0}, {}));
  });
}

/// The rows of the README's table, "mistake | sentence" each.
std::vector<std::string> rows_of_the_readme() {
  std::ifstream page{std::filesystem::path{__FILE__}.parent_path() /
                     "../../include/tether/README.md"};
  std::vector<std::string> rows;
  bool inside = false;
  for (std::string line; std::getline(page, line);) {
    if (line == "| mistake | told |") inside = true;
    else if (!line.starts_with('|')) inside = false;
    else if (inside && line != "|---|---|") rows.push_back(line);
  }
  return rows;
}

}  // namespace

TEST_CASE("each mistake meets the sentence that the README says, and the README has them all") {
  all_mistakes all;
  devices(all);
  buffers(all);
  single_devices(all);
  memory(all);
  order(all);
  std::vector<std::string> rows;
  for (met const& one : all.found())
    rows.push_back("| " + one.mistake + " | " + one.sentence + " |");
  const auto written = rows_of_the_readme();
  if (written.empty() && !std::filesystem::exists(__FILE__))
    return skip_because("the sources are not where they were compiled");
  for (std::string const& row : rows) {
    INFO(row);
    CHECK(std::ranges::find(written, row) != written.end());
  }
  CHECK(written.size() == rows.size());
}

}  // namespace scenario_mistakes
