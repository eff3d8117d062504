// SPDX-License-Identifier: BSL-1.0
// Containers on the backends that need no kernel of their own: the software IOMMU, and io_uring's
// fixed buffers, as far as this machine lets memory be pinned.
#include <growth/containers.hpp>
#include <growth/growth.hpp>
#include <growth/world.hpp>

#include <support/passthrough.hpp>
#include <support/skip.hpp>

#include <tether/attach/audit.hpp>
#include <tether/backend/emulated/endpoint_group.hpp>
#include <tether/backend/endpoint.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/listen/audited.hpp>

#include <doctest/doctest.h>

#include <linux/io_uring.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <sys/syscall.h>
#include <utility>
#include <vector>

namespace growth_containers {

using namespace tether;
using namespace tether_test::growth;
using tether_test::must;

namespace {

/// N groups of emulated endpoints.
class software {
 public:
  using backend_type = software_iommu;

  software(std::uint64_t sources, std::uint64_t devices) {
    for (std::uint64_t i = 0; i != sources; ++i) {
      std::vector<endpoint> all;
      for (std::uint64_t each = 0; each != devices; ++each)
        all.push_back({device(each), pin_class::pins});
      groups_.push_back({"group " + std::to_string(i), std::move(all)});
    }
  }
  [[nodiscard]] backend_type make() { return backend_type{}; }
  [[nodiscard]] std::uint64_t sources() const { return groups_.size(); }
  [[nodiscard]] endpoint_group const& source(std::uint64_t i) const { return groups_[i]; }
  [[nodiscard]] static std::string device(std::uint64_t i) { return "device " + std::to_string(i); }

 private:
  std::vector<endpoint_group> groups_;
};

const row devices[]{
    {"open, lease and close N devices of a group",
     "attached_group::open opened_device::lease opened_device::get opened_device::close "
     "attached_group::devices opened_device::name "
     "device_lease::~device_lease",
     promise::square, open_n<software>, 128, few_members},
    {"attach, lease and detach N devices by name",
     "container::attach attached_device::lease attached_device::detach software_iommu::locate",
     promise::square,
     [](std::uint64_t n, meter& all) {
       machine_room<software> room{1};
       room.map.plug_all();
       std::vector<attached_device<container<software_iommu>>> attached;
       all.count([&] {
         for (std::uint64_t i = 0; i != n; ++i)
           attached.push_back(must(room.dma->attach(endpoint{software::device(i)})));
         for (auto& one : attached) static_cast<void>(must(one.lease()));
         for (auto& one : attached) must(one.detach());
       });
     },
     128, few_members},
};

/// Linux, but a request has ended when its submission returns: else how often it is waited for is
/// luck.
struct prompt_linux : linux_calls {
  using linux_calls::call;
  [[nodiscard]] static answer call(long number, long ring, long submitted, long awaited, long flags,
                                   void* more, long size) noexcept {
    if (number == SYS_io_uring_enter && submitted != 0) {
      awaited = submitted;
      flags |= static_cast<long>(IORING_ENTER_GETEVENTS);
    }
    return linux_calls::call(number, ring, submitted, awaited, flags, more, size);
  }
};

using ring = basic_io_uring_buffers<prompt_linux>;
ring::joined_group pinning(ring& iommu) {
  return must(iommu.join({"group", {{"device", pin_class::pins}}}));
}
mapping nth(ram_block& block, std::uint64_t i) {
  const io_address first{i * page};
  return {{first, first + (page - 1)}, block.host() + i * page};
}

const row rings[]{
    {"pin and unpin N buffers",
     "io_uring_buffers::map io_uring_buffers::unmap io_uring_buffers::free_mappings "
     "io_uring_buffers::pinned_bytes io_uring_buffers::pins_now",
     promise::each,
     [](std::uint64_t n, meter& all) {
       auto block = memory_of(n);
       auto iommu = must(ring::open({.slots = 2048}));
       auto group = pinning(iommu);
       all.count([&] {
         for (std::uint64_t i = 0; i != n; ++i) must(iommu.map(nth(block, i)));
         CHECK(iommu.pinned_bytes() == n * page);
         CHECK(iommu.free_mappings() == 2047 - n);
         CHECK(iommu.pins_now());
         for (std::uint64_t i = 0; i != n; ++i) must(iommu.unmap(nth(block, i).where));
       });
       must(iommu.leave(group));
     },
     128},
    {"join and leave with N buffers, one of N slots, and abandon them",
     "io_uring_buffers::join io_uring_buffers::leave io_uring_buffers::abandon "
     "io_uring_buffers::quiesce io_uring_buffers::usable_iova io_uring_buffers::page_sizes",
     promise::each,
     [](std::uint64_t n, meter& all) {
       auto block = memory_of(2 * n);
       auto iommu = must(ring::open({.slots = 2048, .bytes_per_slot = page}));
       for (std::uint64_t i = 0; i != n; ++i) must(iommu.map(nth(block, i)));
       auto large = nth(block, n);
       large.where.last = large.where.first + (n * page - 1);
       must(iommu.map(large));
       all.count([&] {
         auto group = pinning(iommu);
         must(iommu.quiesce());
         must(iommu.leave(group));
         group = pinning(iommu);
         must(iommu.abandon());
       });
     },
     128},
    {"DMA in one buffer of N slots",
     "io_uring_device::dma_read io_uring_device::dma_write io_uring_device::name "
     "io_uring_buffers::open io_uring_buffers::classify io_uring_buffers::close",
     promise::each,
     [](std::uint64_t n, meter& all) {
       auto block = memory_of(n);
       auto iommu = must(ring::open({.slots = 2048, .bytes_per_slot = page}));
       auto group = pinning(iommu);
       auto whole = nth(block, 0);
       whole.where.last = whole.where.first + (n * page - 1);
       must(iommu.map(whole));
       std::vector<std::byte> bytes(n * page);
       all.count([&] {
         CHECK(must(iommu.classify(group, "device")) == pin_class::pins);
         auto device = must(iommu.open(group, "device"));
         must(device.dma_write(io_address{0}, bytes));
         must(device.dma_read(io_address{0}, bytes));
         CHECK(device.name() == "device");
         must(iommu.close(device));
       });
       must(iommu.unmap(whole.where));
       must(iommu.leave(group));
     },
     128},
};

const row audits[]{
    {"audit N mappings", "audit", promise::each,
     [](std::uint64_t n, meter& all) {
       machine_room<software, basic_audited<no_observation, linux_calls>> room{n};
       room.map.plug_all();
       room.attach_all();
       all.count([&] { CHECK(must(audit(*room.dma)).not_compared == n * page); });
       room.detach_all();
     }},
};

}  // namespace

TEST_CASE("a container on a software IOMMU costs as promised") {
  judge_all(container_rows<software>::on_sections);
  judge_all(container_rows<software>::on_hot_plug);
  judge_all(container_rows<software>::on_members);
  judge_all(devices);
  judge_all(audits);
}

TEST_CASE("fixed buffers cost as promised") {
  if (const auto made = io_uring_buffers::open({.slots = 4}); !made)
    return tether_test::skip_because(made.error().sentence());
  if (tether_test::unpins_slowly())
    return tether_test::skip_because("this kernel takes a second to unpin");
  judge_all(rings);
}

}  // namespace growth_containers
