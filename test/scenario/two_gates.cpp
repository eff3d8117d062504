// SPDX-License-Identifier: BSL-1.0
// A guest with two gates: each lets through what the other forbids, so the second is refused,
// whoever comes second.
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/discard/balloon.hpp>
#include <tether/discard/page_reporting.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>

#include <support/must.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

namespace scenario_two_gates {

using namespace tether;
using tether_test::must;

namespace {

constexpr std::array<std::uint32_t, 1> first_frame{0};
constexpr std::array<extent<guest_address>, 1> first_page{
    {{guest_address{0}, guest_address{4 * KiB - 1}}}};
const endpoint_group nics{"nics", {{"nic", pin_class::pins}}};

struct two_gates {
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  discard_gate<> other;
  result<io_uring_buffers> backend = io_uring_buffers::open();

  two_gates() { static_cast<void>(must(guest.place(region::ram(ram), guest_address{0}))); }
  /// Whether the device writes to where the CPU reads.
  template <class Device>
  bool agree(Device& device) {
    const std::array written{std::byte{42}};
    must(device->dma_write(io_address{0}, written));
    return ram.data()[0] == written[0];
  }
};

}  // namespace

TEST_CASE_FIXTURE(
    two_gates,
    "a balloon at another gate than the container's discards nothing, and every report says why") {
  if (!backend) return tether_test::skip_because(backend.error().sentence());
  container<io_uring_buffers> dma{guest, gate, std::move(*backend)};
  auto group = must(dma.attach(nics));
  auto nic = must(group.open("nic"));
  balloon stray{guest, other};
  page_reporting reporting{guest, other};
  for (const auto& said : {stray.inflate(first_frame), reporting.report(first_page)}) {
    CHECK(said.adds_up());
    CHECK(said.errors == 1);
    CHECK(said.calls == 0);
    REQUIRE(said.first_error);
    CHECK(said.first_error->is(errc::other_gate));
  }
  CHECK(agree(nic));
}

TEST_CASE_FIXTURE(two_gates, "a container at another gate than the balloon's attaches nothing") {
  if (!backend) return tether_test::skip_because(backend.error().sentence());
  std::optional<balloon<>> first{std::in_place, guest, gate};
  container<io_uring_buffers> dma{guest, other, std::move(*backend)};
  const auto refused = dma.attach(nics);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is(errc::other_gate));
  CHECK(refused.error().subject() == "nics");
  CHECK(first->inflate(first_frame).discarded == 1);
  CHECK(other.counts() == gate_counts{});
  CHECK(dma.usage() == mapped_usage{});
}

TEST_CASE_FIXTURE(two_gates, "when the first gate's users are gone, another may take their place") {
  if (!backend) return tether_test::skip_because(backend.error().sentence());
  {
    balloon<> first{guest, gate};
    CHECK(first.inflate(first_frame).discarded == 1);
  }
  container<io_uring_buffers> dma{guest, other, std::move(*backend)};
  auto group = must(dma.attach(nics));
  auto nic = must(group.open("nic"));
  CHECK(agree(nic));
  const auto permit = gate.permit(discard_kind::uncoordinated);
  CHECK(ram.discard({block_offset{0}, block_offset{4 * KiB - 1}}, permit)
            .error()
            .is(errc::other_gate));
  CHECK(agree(nic));
}

}  // namespace scenario_two_gates
