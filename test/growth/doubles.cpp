// SPDX-License-Identifier: BSL-1.0
// The doubles for users' own tests, and the groups of emulated backends.
#include <growth/growth.hpp>
#include <growth/world.hpp>

#include <tether/backend/emulated/endpoint_group.hpp>
#include <tether/backend/emulated/endpoint_registry.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/testing/journal.hpp>
#include <tether/testing/recording.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace growth_doubles {

using namespace tether;
using namespace tether_test::growth;
using tether_test::must;

namespace {

mapping nth(std::uint64_t i) {
  const io_address first{i * page};
  return {{first, first + (page - 1)}, host_address{0x10'0000'0000 + i * page}};
}
std::vector<endpoint> endpoints(std::uint64_t n) {
  std::vector<endpoint> all;
  for (std::uint64_t i = 0; i != n; ++i)
    all.push_back({"device " + std::to_string(100'000 + i), pin_class::pins_on_demand});
  return all;
}

/// N faults that wait while N calls are made.
void faults(std::uint64_t n, meter& all, bool of_a_kind) {
  journal book;
  recording<software_iommu> iommu{book, software_iommu{}};
  all.count([&] {
    for (std::uint64_t i = 0; i != n; ++i) {
      const auto why = error::from_errno("map", ENOMEM);
      if (of_a_kind) book.fail_at(backend_call::map, i + 1, why);
      else book.fail_at(i + 1, why);
    }
    for (std::uint64_t i = 0; i != n; ++i) CHECK_FALSE(iommu.map(nth(i)));
    CHECK(book.faults_left() == 0);
  });
}

constexpr const char* armed = "each call counts every fault down that waits: a test arms a few";

const row rows[]{
    {"N calls in a journal",
     "recording::map recording::unmap recording::log recording::watched recording::page_sizes "
     "recording::usable_iova recording::free_mappings recording::quiesce",
     promise::each,
     [](std::uint64_t n, meter& all) {
       journal book;
       recording<software_iommu> iommu{book, software_iommu{}};
       all.count([&] {
         for (std::uint64_t i = 0; i != n; ++i) must(iommu.map(nth(i)));
         for (std::uint64_t i = 0; i != n; ++i) must(iommu.unmap(nth(i).where));
       });
     }},
    {"ask for N entries, count them, and write them down",
     "journal::entries journal::count journal::clear sentence name_of", promise::each,
     [](std::uint64_t n, meter& all) {
       journal book;
       recording<software_iommu> iommu{book, software_iommu{}};
       for (std::uint64_t i = 0; i != n; ++i) must(iommu.map(nth(i)));
       all.count([&] {
         CHECK(book.count(backend_call::map) == n);
         std::uint64_t letters = 0;
         for (auto const& one : book.entries()) letters += sentence(one).size();
         CHECK(letters > n);
         book.clear();
       });
     }},
    {"N faults, of a kind", "journal::fail_at journal::fail_after journal::faults_left",
     promise::square, [](std::uint64_t n, meter& all) { faults(n, all, true); }, 128, armed},
    {"N faults", "journal::fail_at journal::clear_faults", promise::square,
     [](std::uint64_t n, meter& all) { faults(n, all, false); }, 128, armed},
    {"N groups of a software IOMMU",
     "software_iommu::join software_iommu::leave recording::join recording::leave", promise::each,
     [](std::uint64_t n, meter& all) {
       software_iommu iommu;
       std::vector<endpoint_group> groups;
       for (std::uint64_t i = 0; i != n; ++i)
         groups.push_back({"group " + std::to_string(i), endpoints(1)});
       all.count([&] {
         std::vector<software_iommu::joined_group> joined;
         for (auto const& one : groups) joined.push_back(must(iommu.join(one)));
         for (auto& one : joined) must(iommu.leave(one));
       });
     }},
    {"N groups that are abandoned",
     "software_iommu::quiesce software_iommu::abandon recording::abandon", promise::each,
     [](std::uint64_t n, meter& all) {
       software_iommu iommu;
       std::vector<software_iommu::joined_group> joined;
       for (std::uint64_t i = 0; i != n; ++i)
         joined.push_back(must(iommu.join({"group " + std::to_string(i), endpoints(1)})));
       for (std::uint64_t i = 0; i != n; ++i) must(iommu.map(nth(i)));
       all.count([&] { must(iommu.abandon()); });
     }},
    {"join and leave a group of N endpoints",
     "endpoint_group::endpoint_group endpoint_group::pins endpoint_group::name "
     "endpoint_group::endpoints",
     promise::each,
     [](std::uint64_t n, meter& all) {
       software_iommu iommu;
       all.count([&] {
         const endpoint_group group{"group", endpoints(n)};
         CHECK(group.endpoints().size() == n);
         auto joined = must(iommu.join(group));
         must(iommu.leave(joined));
       });
     }},
    {"open N endpoints of one group",
     "software_iommu::open software_iommu::close software_iommu::classify endpoint_group::find "
     "recording::open recording::close recording::classify",
     promise::each,
     [](std::uint64_t n, meter& all) {
       software_iommu iommu;
       auto joined = must(iommu.join({"group", endpoints(n)}));
       const auto names = endpoints(n);
       all.count([&] {
         std::vector<software_device> devices;
         for (auto const& one : names) {
           CHECK(must(iommu.classify(joined, one.name)) == pin_class::pins_on_demand);
           devices.push_back(must(iommu.open(joined, one.name)));
         }
         for (auto& one : devices) must(iommu.close(one));
       });
       must(iommu.leave(joined));
     }},
    {"map and unmap N, in any order",
     "software_iommu::map software_iommu::unmap software_iommu::free_mappings", promise::each,
     [](std::uint64_t n, meter& all) {
       software_iommu iommu;
       const auto order = shuffled(n);
       all.count([&] {
         for (const auto i : order) must(iommu.map(nth(i)));
         CHECK(iommu.free_mappings() == 65535 - n);
         for (const auto i : order) must(iommu.unmap(nth(i).where));
       });
     },
     512},
    {"map and unmap some of N", "software_iommu::map software_iommu::unmap", promise::same,
     [](std::uint64_t n, meter& all) {
       software_iommu iommu;
       auto order = shuffled(n);
       for (std::uint64_t i = 16; i != n; ++i) must(iommu.map(nth(order[i])));
       all.count([&] {
         for (std::uint64_t i = 0; i != 16; ++i) must(iommu.map(nth(order[i])));
         for (std::uint64_t i = 0; i != 16; ++i) must(iommu.unmap(nth(order[i]).where));
       });
     },
     1024},
    {"map one range by one that an IOMMU of N ranges has",
     "software_iommu::usable_iova software_iommu::page_sizes", promise::each,
     [](std::uint64_t n, meter& all) {
       software_iommu_options options;
       options.usable.clear();
       for (std::uint64_t i = 0; i != n; ++i)
         options.usable.push_back({io_address{2 * i * page}, io_address{(2 * i + 1) * page - 1}});
       software_iommu iommu{options};
       all.count([&] {
         CHECK(iommu.usable_iova().size() == n);
         for (std::uint64_t i = 0; i != n; ++i) must(iommu.map(nth(2 * i)));
       });
     }},
    {"DMA of N bytes across N mappings",
     "software_device::dma_read software_device::dma_write software_device::name", promise::each,
     [](std::uint64_t n, meter& all) {
       software_iommu iommu;
       auto block = memory_of(n);
       auto joined = must(iommu.join({"group", endpoints(1)}));
       auto device = must(iommu.open(joined, "device 100000"));
       for (std::uint64_t i = 0; i != n; ++i) {
         auto one = nth(i);
         one.host = block.host() + i * page;
         must(iommu.map(one));
       }
       std::vector<std::byte> bytes(n * page);
       all.count([&] {
         must(device.dma_read(io_address{0}, bytes));
         must(device.dma_write(io_address{0}, bytes));
         CHECK(device.name() == "device 100000");
       });
     }},
};

}  // namespace

TEST_CASE("the doubles, and emulated groups, cost as promised") { judge_all(rows); }

}  // namespace growth_doubles
