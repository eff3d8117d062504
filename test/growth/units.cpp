// SPDX-License-Identifier: BSL-1.0
// Divided memory: N units that go and come, N sections or N containers that follow them, N sources.
#include <growth/growth.hpp>
#include <growth/world.hpp>

#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/discard/balloon.hpp>
#include <tether/discard/virtio_mem.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/topology/population.hpp>
#include <tether/topology/unit_source.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

namespace growth_units {

using namespace tether;
using namespace tether_test::growth;
using tether_test::must;

namespace {

constexpr std::uint64_t unit = 16 * KiB;
constexpr std::uint64_t pages_in_unit = unit / page;
using blocks = fixed_block<unit>;
using container_type = container<software_iommu, blocks>;

const endpoint_group nics{"nics", {{"nic", pin_class::pins}}};

/// A guest of N units, in one section or in one a unit, with containers that follow them.
struct divided {
  divided(std::uint64_t n, std::uint64_t containers, bool one_section = true)
      : block{memory_of(n * pages_in_unit)} {
    must(divide(block, unit));
    auto change = space.begin();
    if (one_section) static_cast<void>(must(change.place(region::ram(block), guest_address{0})));
    for (std::uint64_t i = 0; !one_section && i != n; ++i)
      static_cast<void>(must(change.place(region::ram(block, block_offset{i * unit}, unit),
                                          guest_address{2 * i * unit})));
    static_cast<void>(must(change.commit()));
    for (std::uint64_t i = 0; i != containers; ++i) {
      all.push_back(std::make_unique<container_type>(
          space, gate, software_iommu{{.page_sizes = {page}, .budget = 8 * n}}));
      static_cast<void>(must(all.back()->attach(nics)));
    }
    source.emplace_back(*block.backing().population());
  }
  void discard(std::uint64_t which) {
    must(source.front().discard(which, gate.permit(discard_kind::coordinated)));
  }
  void populate(std::uint64_t which) {
    must(source.front().populate(which, [this] { return gate.permit(discard_kind::coordinated); }));
  }

  ram_block block;
  address_space space{};
  discard_gate<> gate{};
  std::vector<std::unique_ptr<container_type>> all{};
  std::deque<unit_source> source{};
};

const row units[]{
    {"divide memory into N units", "divide", promise::each,
     [](std::uint64_t n, meter& all) {
       const auto block = memory_of(n * pages_in_unit);
       all.count([&] { must(divide(block, unit)); });
     }},
    {"N units go and come, one container", "unit_source::discard unit_source::populate",
     promise::each,
     [](std::uint64_t n, meter& all) {
       divided here{n, 1};
       all.count([&] {
         for (const auto which : shuffled(n)) here.discard(which);
         for (const auto which : shuffled(n)) here.populate(which);
       });
     }},
    {"one of N units goes and comes", "unit_source::discard unit_source::populate", promise::same,
     [](std::uint64_t n, meter& all) {
       divided here{n, 1};
       all.count([&] {
         for (std::uint64_t i = 0; i != 8; ++i) here.discard(i * n / 8);
         for (std::uint64_t i = 0; i != 8; ++i) here.populate(i * n / 8);
       });
     }},
    {"a unit goes and comes, N containers", "unit_source::discard unit_source::populate",
     promise::each,
     [](std::uint64_t n, meter& all) {
       divided here{4, n};
       all.count([&] {
         here.discard(2);
         here.populate(2);
       });
     },
     16},
    {"a unit goes and comes, N sections show its memory",
     "unit_source::discard unit_source::populate", promise::each,
     [](std::uint64_t n, meter& all) {
       divided here{n, 1, false};
       all.count([&] {
         here.discard(n / 2);
         here.populate(n / 2);
       });
     }},
    {"N units come back without whom they could not be mapped for",
     "unit_source::populate_or_fence", promise::each,
     [](std::uint64_t n, meter& all) {
       divided here{n, 1};
       for (const auto which : shuffled(n)) here.discard(which);
       all.count([&] {
         for (const auto which : shuffled(n)) must(here.source.front().populate_or_fence(which));
       });
     }},
    {"attach and detach, N units of which every second is gone",
     "population::enrol population::withdraw population::is_populated", promise::each,
     [](std::uint64_t n, meter& all) {
       divided here{n, 0};
       for (std::uint64_t which = 0; which < n; which += 2) here.discard(which);
       container_type late{here.space, here.gate,
                           software_iommu{{.page_sizes = {page}, .budget = 8 * n}}};
       all.count([&] {
         auto group = must(late.attach(nics));
         must(group.detach());
       });
     }},
    {"attach and detach, N sections show the memory", "population::enrol population::withdraw",
     promise::each,
     [](std::uint64_t n, meter& all) {
       divided here{n, 0, false};
       container_type late{here.space, here.gate,
                           software_iommu{{.page_sizes = {page}, .budget = 8 * n}}};
       all.count([&] {
         auto group = must(late.attach(nics));
         must(group.detach());
       });
     }},
    {"N sections of the memory plugged and unplugged one by one", "population::enrol",
     promise::each,
     [](std::uint64_t n, meter& all) {
       divided here{n, 1, false};
       all.count([&] {
         for (std::uint64_t i = 0; i != n; ++i) {
           const auto id =
               must(here.space.place(region::ram(here.block, block_offset{i * unit}, unit),
                                     guest_address{(2 * i + 1) * unit}));
           must(here.space.remove(id));
         }
       });
     },
     1024},
    {"a source of N units begins and ends", "unit_source::unit_source", promise::each,
     [](std::uint64_t n, meter& all) {
       divided here{n, 0};
       all.count([&] { const unit_source other{*here.block.backing().population()}; });
     },
     4096},
};

const row balloons[]{
    {"inflate and deflate N units while only coordinated discards are allowed",
     "balloon::inflate balloon::deflate balloon::reset", promise::each,
     [](std::uint64_t n, meter& all) {
       divided here{n, 1};
       const auto held = here.gate.hold(hold_kind::uncoordinated, "device");
       balloon<> device{here.space, here.gate, {.must_tell_host = true}};
       std::vector<std::uint32_t> frames;
       for (std::uint64_t i = n * pages_in_unit; i-- != 0;)
         frames.push_back(static_cast<std::uint32_t>(i));
       all.count([&] {
         for (std::size_t at = 0; at < frames.size(); at += 8)
           CHECK(device.inflate(std::span{frames}.subspan(at, 8)).waiting < 8);
         for (std::size_t at = 0; at < frames.size(); at += 8)
           CHECK(device.deflate(std::span{frames}.subspan(at, 8)).returned == 8);
         CHECK(device.inflate(frames).units_discarded == n);
         CHECK(device.reset().units_populated == n);
       });
     }},
};

/// The guest's side of virtio-mem.
struct plugged {
  explicit plugged(std::uint64_t n)
      : block{memory_of(n * pages_in_unit)}, divided_now{divide(block, unit).has_value()} {
    static_cast<void>(must(space.place(region::ram(block), guest_address{0})));
  }
  void make() { device = must(virtio_mem<>::create("virtio-mem", block, guest_address{0}, gate)); }
  void send(std::uint16_t type, std::uint64_t first, std::uint16_t count) {
    std::array<std::byte, 24> request{};
    for (std::size_t i = 0; i != 8; ++i) request[8 + i] = std::byte(first * unit >> (8 * i));
    request[0] = std::byte(type);
    request[16] = std::byte(count & 0xff);
    request[17] = std::byte(count >> 8);
    std::array<std::byte, 10> response{};
    CHECK(device->handle(request, response).response == virtio_mem_response::ack);
  }

  ram_block block;
  bool divided_now;
  address_space space{};
  discard_gate<> gate{};
  std::unique_ptr<virtio_mem<>> device{};
};

const row devices[]{
    {"a virtio-mem device of N blocks begins", "virtio_mem::create", promise::each,
     [](std::uint64_t n, meter& all) {
       plugged here{n};
       all.count([&] { here.make(); });
     }},
    {"N blocks are plugged and unplugged one by one", "virtio_mem::handle", promise::each,
     [](std::uint64_t n, meter& all) {
       plugged here{n};
       here.make();
       static_cast<void>(must(here.device->request_size(n * unit)));
       all.count([&] {
         for (std::uint64_t i = 0; i != n; ++i) here.send(0, i, 1);
         for (std::uint64_t i = 0; i != n; ++i) here.send(1, i, 1);
       });
     }},
    {"N blocks are plugged, asked for and unplugged in one request each",
     "virtio_mem::handle virtio_mem::reset_system", promise::each,
     [](std::uint64_t n, meter& all) {
       plugged here{n};
       here.make();
       static_cast<void>(must(here.device->request_size(n * unit)));
       all.count([&] {
         here.send(0, 0, static_cast<std::uint16_t>(n));
         here.send(3, 0, static_cast<std::uint16_t>(n));
         here.send(1, 0, static_cast<std::uint16_t>(n));
         here.send(0, 0, static_cast<std::uint16_t>(n));
         here.send(2, 0, 0);
         must(here.device->reset_system());
       });
     }},
};

}  // namespace

TEST_CASE("units cost as promised") { judge_all(units); }
TEST_CASE("a balloon over divided memory costs as promised") { judge_all(balloons); }
TEST_CASE("virtio-mem costs as promised") { judge_all(devices); }

}  // namespace growth_units
