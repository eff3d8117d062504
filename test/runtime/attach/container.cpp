// SPDX-License-Identifier: BSL-1.0
// What a container tells of itself. Its stories are in test/scenario.
#include <tether/attach/container.hpp>

#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/testing/recording.hpp>

#include <support/must.hpp>
#include <support/skip.hpp>
#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <system_error>
#include <type_traits>
#include <unistd.h>
#include <utility>

namespace runtime_attach_container {

using namespace tether;
using tether_test::must;

namespace {

using in_blocks = container<software_iommu, fixed_block<64 * KiB>>;
static_assert(!std::is_move_constructible_v<in_blocks>);

struct small_guest {
  ram_block ram = must(ram_block::allocate("ram", 256 * KiB));
  address_space guest;
  discard_gate<> gate;
};

}  // namespace

TEST_CASE_FIXTURE(small_guest,
                  "where guest memory may lie can be asked before any is placed or attached") {
  in_blocks dma{guest, gate, software_iommu{{.usable = {{io_address{0}, io_address{0xffff}}}}}};
  REQUIRE(dma.usable_iova().size() == 1);
  CHECK(dma.usable_iova()[0].last == io_address{0xffff});
  CHECK(dma.usage() == mapped_usage{});
}

TEST_CASE_FIXTURE(small_guest,
                  "where guest memory may lie is answered while the very first attach works") {
  const auto ended = tether_test::in_a_child([this] {
    ::alarm(20);  // a wait that never ends
    std::size_t ranges = 0;
    journal calls;
    container<recording<software_iommu>> dma{guest, gate, recording<software_iommu>{calls}};
    calls.before_each([&](journal_entry const&) { ranges = dma.usable_iova().size(); });
    static_cast<void>(must(dma.attach({"a", {{"nic"}}})));
    return ranges != 0 ? 0 : 1;
  });
  CHECK(ended.exit_code == 0);
}

TEST_CASE_FIXTURE(
    small_guest,
    "counts and usage follow attach and detach, and hot-plugged memory is mapped and unmapped") {
  in_blocks dma{guest, gate};
  auto first = must(dma.attach({"a", {{"nic"}}}));
  auto second = must(dma.attach({"b", {{"nic"}}}));
  CHECK(dma.membership() == container_counts{2, 0});
  CHECK(dma.usage() == mapped_usage{});
  const region_id placed = must(guest.place(region::ram(ram), guest_address{0}));
  CHECK(dma.usage() == mapped_usage{4, 256 * KiB});
  must(first.detach());
  CHECK(dma.usage() == mapped_usage{4, 256 * KiB});
  must(guest.remove(placed));
  CHECK(dma.usage() == mapped_usage{});
  must(second.detach());
  CHECK(dma.membership() == container_counts{});
}

TEST_CASE_FIXTURE(
    small_guest,
    "an attach reports each piece, and one that is cancelled on the way has happened not at all") {
  const region_id placed = must(guest.place(region::ram(ram), guest_address{0}));
  in_blocks dma{guest, gate};
  for (int until = 0; until <= 4; ++until) {
    std::stop_source source;
    int pieces = 0;
    if (until == 0) source.request_stop();
    monitored who{source.get_token(), [&](mapping const& piece) noexcept {
                    CHECK(piece.where.size() == 64 * KiB);
                    if (++pieces == until) source.request_stop();
                  }};
    auto done = dma.attach({"a", {{"nic"}}}, who);
    CHECK(pieces == until);
    CHECK(done.has_value() == (until == 4));
    if (!done) {
      CHECK(done.error().code() == std::make_error_code(std::errc::operation_canceled));
      CHECK(dma.membership() == container_counts{});
      CHECK(dma.usage() == mapped_usage{});
    }
  }
  must(guest.remove(placed));
}

TEST_CASE_FIXTURE(small_guest,
                  "a container that goes detaches what is attached, so its memory can be freed") {
  const region_id placed = must(guest.place(region::ram(ram), guest_address{0}));
  std::optional<in_blocks> dma{std::in_place, guest, gate};
  auto group = must(dma->attach({"a", {{"nic"}}}));
  auto device = must(group.open("nic"));
  CHECK(device.get() != nullptr);
  dma.reset();
  must(guest.remove(placed));
  must(ram.free());
}

TEST_CASE_FIXTURE(
    small_guest,
    "what a hold is named after is the group, and the container where that is the unit") {
  const auto name_after_attach = [&]<class Policy>(Policy) {
    auto iommu = io_uring_buffers::open({.slots = 8});
    if (!iommu) return std::string{"io_uring is not to be had"};
    container<io_uring_buffers, Policy> dma{guest, gate, std::move(*iommu)};
    static_cast<void>(must(dma.attach({"nics", {{"nic"}}})));
    std::string name;
    gate.for_each_holder([&](holder_info who) { name = who.name; });
    return name;
  };
  if (name_after_attach(inhibit_per_group{}) == "io_uring is not to be had")
    return tether_test::skip_because("io_uring is not to be had");
  CHECK(name_after_attach(inhibit_per_group{}) == "nics");
  CHECK(name_after_attach(inhibit_per_device{}) == "nics");
  CHECK(name_after_attach(inhibit_per_container{}) == "container");
}

}  // namespace runtime_attach_container
