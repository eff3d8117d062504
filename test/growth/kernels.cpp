// SPDX-License-Identifier: BSL-1.0
// Containers on VFIO and on iommufd, each with a fake kernel, whose own work is not counted but
// whose calls are: N sections, groups, devices, IOMMUs, containers of one context, aliases.
#include <growth/containers.hpp>
#include <growth/growth.hpp>
#include <growth/world.hpp>

#include <support/fake_iommufd_kernel.hpp>
#include <support/fake_sysfs.hpp>
#include <support/fake_vfio_kernel.hpp>

#include <tether/backend/iommufd.hpp>
#include <tether/backend/vfio/cdev.hpp>
#include <tether/backend/vfio/group.hpp>
#include <tether/backend/vfio/sysfs.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/listen/audited.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <deque>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace growth_kernels {

using namespace tether;
using namespace tether_test::growth;
using tether_test::fake_cdev;
using tether_test::fake_iommufd_kernel;
using tether_test::fake_sysfs;
using tether_test::fake_vfio_kernel;
using tether_test::metered_kernel;
using tether_test::must;

namespace {

std::string address(std::uint64_t i) {
  return "0000:" + std::to_string(10 + i % 80) + ":" + std::to_string(10 + i / 80) + ".0";
}

/// Makes temporary folders in memory, if there is such a place: a /sys has thousands of links.
struct in_memory {
  in_memory() {
    if (::access("/dev/shm", W_OK) == 0) ::setenv("TMPDIR", "/dev/shm", 0);
  }
};

/// Whether the machine has a /sys: where it tells nothing, what is attached pins, and is a group of
/// its own. It is slow to make, so rows of many do without.
enum class tree : std::uint8_t { none, physical, mediated };

/// N VFIO groups.
template <tree Sys = tree::none>
class vfio {
 public:
  using kernel_type = metered_kernel<fake_vfio_kernel>;
  using backend_type = basic_vfio_type1<kernel_type>;

  vfio(std::uint64_t sources, std::uint64_t devices) {
    auto& machine = fake_vfio_kernel::start_anew();
    for (std::uint64_t i = 0; i != sources; ++i) {
      const std::string number = std::to_string(i);
      auto& made = machine.groups["/dev/vfio/" + number].is;
      made.pins = Sys != tree::mediated;
      made.devices.clear();
      for (std::uint64_t each = 0; each != devices; ++each) {
        made.devices.push_back(device(i + each));
        if (Sys != tree::none)
          tree_.add(device(i + each), made.pins ? "pci" : "mdev", number, "vfio-pci");
      }
      groups_.emplace_back("/dev/vfio/" + number);
    }
  }
  [[nodiscard]] backend_type make() { return backend_type{vfio_sysfs{tree_.root()}}; }
  [[nodiscard]] std::uint64_t sources() const { return groups_.size(); }
  [[nodiscard]] vfio_group const& source(std::uint64_t i) const { return groups_[i]; }
  [[nodiscard]] static std::string device(std::uint64_t i) { return address(i); }

 private:
  fake_sysfs tree_;
  std::deque<vfio_group> groups_;
};

/// N devices on iommufd: of a group each, or of one; behind one IOMMU, or each its own.
template <tree Sys = tree::none, bool OneGroup = false, bool OneIommu = true>
class cdevs {
 public:
  using kernel_type = metered_kernel<fake_iommufd_kernel>;
  using backend_type = basic_iommufd<kernel_type>;
  using context_type = basic_iommufd_context<kernel_type>;

  cdevs(std::uint64_t sources, std::uint64_t) {
    auto& machine = fake_iommufd_kernel::start_anew();
    for (std::uint64_t i = 0; i != sources; ++i) {
      const std::string node = "vfio" + std::to_string(i);
      const std::string number = std::to_string(OneGroup ? 0 : i);
      if (Sys != tree::none) {
        tree_.add(address(i), Sys == tree::mediated ? "mdev" : "pci", number, "vfio-pci");
        tree_.add_node(address(i), node, "510:" + std::to_string(i));
      }
      fake_cdev is;
      is.name = address(i);
      is.group = number;
      is.mediated = Sys == tree::mediated;
      is.iommu = OneIommu ? 0 : static_cast<int>(i);
      is.number = static_cast<unsigned>(i);
      machine.devices["/dev/vfio/devices/" + node].is = is;
      devices_.emplace_back("/dev/vfio/devices/" + node, sysfs());
    }
    context_.push_back(must(context_type::open()));
  }
  [[nodiscard]] vfio_sysfs sysfs() const { return vfio_sysfs{tree_.root()}; }
  /// Another container of the same context.
  [[nodiscard]] backend_type make() { return must(backend_type::open(context_[0], sysfs())); }
  [[nodiscard]] std::uint64_t sources() const { return devices_.size(); }
  [[nodiscard]] vfio_cdev const& source(std::uint64_t i) const { return devices_[i]; }

 private:
  fake_sysfs tree_;
  std::deque<vfio_cdev> devices_;
  std::vector<context_type> context_;
};

using frames = basic_audited<no_observation, linux_calls>;

constexpr const char* sysfs =
    "who pins is read from sysfs, which lists the devices of a group, or the groups that have "
    "joined, one by one: they are few, and may change at any time";

const row on_vfio[]{
    {"attach and detach N, audited",
     "vfio_type1::acquire vfio_type1::join vfio_type1::leave vfio_type1::pins_now vfio_type1::map "
     "vfio_type1::unmap vfio_type1::free_mappings vfio_type1::usable_iova vfio_type1::page_sizes "
     "vfio_type1::quiesce vfio_type1::abandon",
     promise::square, attach_n<vfio<>, frames>, 32, few_members},
    {"attach and detach N mediated groups, audited", "container::attach", promise::square,
     attach_n<vfio<tree::mediated>, frames>, 16, sysfs},
    {"open, lease and close N devices of a group",
     "attached_group::open vfio_type1::open vfio_type1::classify vfio_type1::close",
     promise::square, open_n<vfio<tree::physical>>, 16, sysfs},
};

mapping nth(ram_block& block, std::uint64_t i, std::uint64_t at) {
  const io_address first{at * page};
  return {{first, first + (page - 1)}, block.host() + i * page};
}

/// N containers of a context map the same.
void containers_of_a_context(std::uint64_t n, meter& all) {
  cdevs<> machine{n, 1};
  auto block = memory_of(1);
  std::vector<cdevs<>::backend_type> iommus;
  std::vector<cdevs<>::backend_type::device_type> devices;
  all.count([&] {
    for (std::uint64_t i = 0; i != n; ++i) {
      auto& one = iommus.emplace_back(machine.make());
      auto& device = devices.emplace_back(must(one.open(machine.source(i))));
      must(one.bind(device));
      must(one.join(device));
      must(one.map(nth(block, 0, 7)));
    }
  });
  all.count([&] {
    for (std::uint64_t i = 0; i != n; ++i) {
      must(iommus[i].unmap(nth(block, 0, 7).where));
      must(iommus[i].leave(devices[i]));
      must(iommus[i].close(devices[i]));
    }
  });
}
/// The same page of memory at N addresses, in a container of its own or where another has it so.
void aliases(std::uint64_t n, meter& all, bool shared, tether::access rights) {
  cdevs<> machine{2, 1};
  auto block = memory_of(1);
  auto other = machine.make();
  auto device = must(other.open(machine.source(0)));
  must(other.bind(device));
  must(other.join(device));
  if (shared) {
    for (std::uint64_t i = 0; i != n; ++i) {
      auto one = nth(block, 0, i);
      one.rights = rights;
      must(other.map(one));
    }
  }
  auto iommu = machine.make();
  all.count([&] {
    for (std::uint64_t i = 0; i != n; ++i) {
      must(iommu.map(nth(block, 0, i)));
    }
  });
  all.count([&] {
    for (const auto i : shuffled(n)) must(iommu.unmap(nth(block, 0, i).where));
  });
  must(other.leave(device));
  must(other.close(device));
}

const row on_iommufd[]{
    {"attach and detach N, audited", "container::attach", promise::square,
     attach_n<cdevs<>, frames>, 32, few_members},
    {"attach and detach N of one group", "container::attach", promise::each,
     attach_n<cdevs<tree::physical, true>>, 16},
    {"attach and detach N mediated devices, audited", "container::attach iommufd::pins_now",
     promise::square, attach_n<cdevs<tree::mediated>, frames>, 16, few_members},
    {"lease N devices", "attached_device::lease attached_device::get", promise::square,
     [](std::uint64_t n, meter& all) {
       machine_room<cdevs<>> room{2, n};
       room.attach_all();
       all.count([&] {
         for (auto& one : room.attached) {
           const auto lease = must(one.lease());
           CHECK(one.get() != nullptr);
         }
       });
       room.detach_all();
     },
     32, few_members},
    {"map and unmap N, in any order",
     "iommufd::map iommufd::unmap iommufd::free_mappings iommufd::usable_iova iommufd::page_sizes",
     promise::each,
     [](std::uint64_t n, meter& all) {
       cdevs<> machine{1, 1};
       auto block = memory_of(n);
       auto iommu = machine.make();
       all.count([&] {
         for (const auto i : shuffled(n)) must(iommu.map(nth(block, i, i)));
         CHECK(iommu.free_mappings() > n);
         for (const auto i : shuffled(n)) must(iommu.unmap(nth(block, i, i).where));
       });
     },
     512},
    {"one page of memory at N places", "iommufd::map", promise::each,
     [](std::uint64_t n, meter& all) { aliases(n, all, false, tether::access::none); }},
    {"one page of memory at N places, as in another container", "iommufd::map", promise::each,
     [](std::uint64_t n, meter& all) { aliases(n, all, true, tether::access::read_write); }},
    {"one page of memory at N places, read-only in another container", "iommufd::map",
     promise::square,
     [](std::uint64_t n, meter& all) { aliases(n, all, true, tether::access::read); }, 64,
     "what another container has with other rights is passed one by one: who maps one page at many "
     "addresses, and elsewhere with fewer rights?"},
    {"N containers that share a page",
     "iommufd::open iommufd::join iommufd::leave iommufd::bind "
     "iommufd::close iommufd::classify iommufd_context::open",
     promise::each, containers_of_a_context, 16},
    {"replace N devices", "iommufd::replace iommufd::quiesce iommufd::abandon", promise::square,
     [](std::uint64_t n, meter& all) {
       cdevs<> machine{n, 1};
       auto from = machine.make();
       auto to = machine.make();
       std::vector<cdevs<>::backend_type::device_type> devices;
       for (std::uint64_t i = 0; i != n; ++i) {
         auto& one = devices.emplace_back(must(from.open(machine.source(i))));
         must(from.bind(one));
         must(from.join(one));
       }
       all.count([&] {
         for (auto& one : devices) must(to.replace(from, one));
         must(to.quiesce());
         must(to.abandon());
       });
     },
     32, few_members},
    {"attach and detach N behind N IOMMUs", "container::attach", promise::square,
     attach_n<cdevs<tree::none, false, false>>, 32,
     "only the kernel knows which page table suits a device, and it is asked for each: a machine "
     "has as many as kinds of IOMMU"},
};

}  // namespace

TEST_CASE("a container on VFIO costs as promised") {
  const in_memory fast;
  judge_all(container_rows<vfio<>>::on_sections);
  judge_all(container_rows<vfio<>>::on_members);
  judge_all(on_vfio);
}

TEST_CASE("a container on iommufd costs as promised") {
  const in_memory fast;
  judge_all(container_rows<cdevs<>>::on_sections);
  judge_all(container_rows<cdevs<>>::on_members);
  judge_all(on_iommufd);
}

}  // namespace growth_kernels
