// SPDX-License-Identifier: BSL-1.0
// Who is in, who agreed, who holds: the three inhibition policies through opt-in, mixed groups and hot-unplug, with
// the holds counted against what the laws say (law 9), by a second bookkeeper who shares no code with the first.
#include <support/passthrough.hpp>
#include <support/skip.hpp>

#include <tether/granule/fixed_block.hpp>
#include <tether/granule/whole_section.hpp>
#include <tether/inhibit/inhibit_per_container.hpp>
#include <tether/inhibit/inhibit_per_device.hpp>
#include <tether/inhibit/inhibit_per_group.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace tether;
using namespace tether_test;

namespace {

/// A software IOMMU that says it pins: what a policy does then needs no kernel to be seen.
struct software_that_pins : software_iommu {
  using software_iommu::software_iommu;
  static constexpr bool pins = true;
};
static_assert(backend<software_that_pins>);

/// What the laws say of one group, told by the test and not by the books.
struct group_seen {
  bool attached = false;
  bool vouched = false;  // one of its devices has agreed since it attached
  std::uint32_t agreeing = 0;
  std::uint32_t objecting = 0;
  [[nodiscard]] bool may_pin() const { return attached && (!vouched || objecting != 0); }
};
template <class Policy, class Groups>
std::uint32_t holds_by_law(Groups const& groups) {
  std::uint32_t holds = 0;
  for (group_seen const& one : groups) {
    if (!one.attached) continue;
    if constexpr (std::is_same_v<Policy, inhibit_per_device>) holds += (one.vouched ? 0U : 1U) + one.objecting;
    else holds += one.may_pin() ? 1U : 0U;
  }
  if constexpr (std::is_same_v<Policy, inhibit_per_container>) return std::min(holds, 1U);
  return holds;
}
template <class Policy>
inline constexpr bool takes_mixed_groups = std::is_same_v<Policy, inhibit_per_device>;

const std::array<endpoint_group, 3> three_groups{
    endpoint_group{"nics", {{"nic", pin_class::pins}}},
    endpoint_group{"vgpus", {{"vgpu0", pin_class::pins_on_demand}, {"vgpu1", pin_class::pins_on_demand}}},
    endpoint_group{"ttys", {{"tty0", pin_class::pins_on_demand}, {"tty1", pin_class::pins_on_demand}}},
};

template <class Policy>
struct membership {
  using container_type = container<software_that_pins, Policy>;

  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  region_id placed = must(guest.place(region::ram(ram), guest_address{0}));
  container_type dma{guest, gate};

  std::array<std::optional<typename container_type::attached>, 3> groups{};
  std::array<std::array<std::optional<typename container_type::opened>, 2>, 3> devices{};
  std::array<std::array<consent, 2>, 3> said{};
  std::array<group_seen, 3> seen{};

  [[nodiscard]] std::uint32_t held() const { return gate.counts().any_holds; }
  void check(std::string const& after) {
    CAPTURE(after);
    CHECK(held() == holds_by_law<Policy>(seen));
    CHECK(static_cast<bool>(gate.permit(discard_kind::uncoordinated)) == (held() == 0));
  }

  void attach(std::size_t g) {
    auto done = dma.attach(three_groups[g]);
    REQUIRE(done.has_value() == !seen[g].attached);
    if (!done) {
      CHECK(done.error().is(errc::already_there));
      return;
    }
    groups[g] = *done;
    seen[g].attached = true;
  }
  void detach(std::size_t g) {
    if (!groups[g]) return;
    must(groups[g]->detach());
    CHECK(groups[g]->detach().error().is(errc::stale_handle));
    groups[g].reset();
    for (auto& device : devices[g]) device.reset();
    seen[g] = {};
  }
  void open(std::size_t g, std::size_t d, consent agrees) {
    if (!groups[g]) return;
    auto const& endpoints = three_groups[g].endpoints();
    if (d >= endpoints.size()) return;
    auto done = groups[g]->open(endpoints[d].name, agrees);
    const bool gives = agrees == consent::given;
    const bool mixes = gives ? seen[g].objecting != 0 : seen[g].agreeing != 0;
    if (devices[g][d]) {
      REQUIRE_FALSE(done.has_value());
      CHECK(done.error().is(errc::already_there));
    } else if (gives && endpoints[d].pins == pin_class::pins) {
      REQUIRE_FALSE(done.has_value());
      CHECK(done.error().is(errc::consent_refused));
    } else if (mixes && !takes_mixed_groups<Policy>) {
      REQUIRE_FALSE(done.has_value());
      CHECK(done.error().is(errc::mixed_group));
    } else {
      REQUIRE(done.has_value());
      devices[g][d] = *done;
      said[g][d] = agrees;
      seen[g].vouched = seen[g].vouched || gives;
      (gives ? seen[g].agreeing : seen[g].objecting) += 1;
    }
  }
  void close(std::size_t g, std::size_t d) {
    if (!devices[g][d]) return;
    must(devices[g][d]->close());
    CHECK(devices[g][d]->get() == nullptr);
    CHECK(devices[g][d]->close().error().is(errc::stale_handle));
    devices[g][d].reset();
    (said[g][d] == consent::given ? seen[g].agreeing : seen[g].objecting) -= 1;
  }
};

}  // namespace

TEST_CASE_TEMPLATE("holds are exactly what the law says after every attach, opt-in, close and detach", Policy, inhibit_per_container,
                   inhibit_per_group, inhibit_per_device) {
  membership<Policy> vm;
  std::mt19937 dice{20181};
  std::array<std::uint32_t, 4> seen_holds{};
  for (int step = 0; step < 6000; ++step) {
    const std::size_t g = dice() % 3;
    const std::size_t d = dice() % 2;
    const consent agrees = dice() % 3 == 0 ? consent::none : consent::given;
    switch (dice() % 6) {
      case 0: vm.attach(g); break;
      case 1:
        if (dice() % 4 == 0) vm.detach(g);
        break;
      case 2:
      case 3:
      case 4: vm.open(g, d, agrees); break;
      default: vm.close(g, d); break;
    }
    vm.check("step " + std::to_string(step));
    seen_holds[std::min<std::size_t>(vm.held(), 3)] += 1;
  }
  CHECK(seen_holds[0] != 0);
  CHECK(seen_holds[1] != 0);
  if constexpr (!std::is_same_v<Policy, inhibit_per_container>) CHECK(seen_holds[2] != 0);
}

TEST_CASE_TEMPLATE("groups are unplugged in every order, with their devices open, and the last hold goes with the last that may pin", Policy,
                   inhibit_per_container, inhibit_per_group, inhibit_per_device) {
  std::array<std::size_t, 3> order{0, 1, 2};
  do {
    membership<Policy> vm;
    for (std::size_t g = 0; g < 3; ++g) vm.attach(g);
    vm.open(0, 0, consent::none);
    vm.open(1, 0, consent::given);
    vm.open(1, 1, consent::given);
    vm.open(2, 0, consent::none);
    vm.check("all are in");
    for (const std::size_t g : order) {
      vm.detach(g);
      vm.check("unplugged " + std::to_string(g));
    }
    CHECK(vm.held() == 0);
    CHECK(vm.dma.usage() == mapped_usage{});
    CHECK(vm.dma.books() == container_tally{});
  } while (std::ranges::next_permutation(order).found);
}

TEST_CASE("a group on its way out opens nothing more, and its hold stands until it is gone") {
  membership<inhibit_per_group> vm;
  vm.attach(0);
  must(vm.groups[0]->request_unplug());
  auto late = vm.groups[0]->open("nic");
  REQUIRE_FALSE(late.has_value());
  CHECK(late.error().is(errc::unplug_requested));
  CHECK(vm.held() == 1);
  vm.detach(0);
  CHECK(vm.held() == 0);
}

TEST_CASE("what a hold is named after is the group, and the container where that is the unit") {
  const auto name_after_attach = []<class Policy>(Policy) {
    membership<Policy> vm;
    vm.attach(0);
    std::string name;
    vm.gate.for_each_holder([&](holder_info who) { name = who.name; });
    return name;
  };
  CHECK(name_after_attach(inhibit_per_group{}) == "nics");
  CHECK(name_after_attach(inhibit_per_device{}) == "nics");
  CHECK(name_after_attach(inhibit_per_container{}) == "container");
}

TEST_CASE_TEMPLATE("the hold is there before the group joins, at every map and unmap, and until the group has left", Policy, inhibit_per_container,
                   inhibit_per_group, inhibit_per_device) {
  passthrough<on_software, Policy, fixed_block<64 * KiB>> unpinned{must(on_software::make())};
  auto backend = on_io_uring::make();
  if (!backend) return skip_because("io_uring is not to be had: " + backend.error().sentence());
  passthrough<on_io_uring, Policy, fixed_block<64 * KiB>> vm{std::move(*backend)};
  std::vector<std::string> naked;
  std::uint32_t calls = 0;
  const auto look = [&](journal_entry const& entry) {
    calls += 1;
    if (vm.gate.counts().uncoordinated_holds == 0) naked.push_back(sentence(entry));
  };
  vm.book.before_each(look);
  vm.book.after_each(look);
  auto group = must(vm.dma->attach(pinning_group()));
  auto device = must(group.open("nic"));
  must(device.close());
  must(group.detach());
  CHECK(naked.empty());
  CHECK(calls > 8);
  CHECK(vm.gate.counts() == gate_counts{});

  // The same story where nothing pins takes no hold at any time.
  auto harmless = must(unpinned.dma->attach(pinning_group()));
  CHECK(unpinned.gate.counts() == gate_counts{});
  must(harmless.detach());
}

TEST_CASE_TEMPLATE("joining a container that has mappings is itself a pin point, and the hold is there before it", Policy, inhibit_per_container,
                   inhibit_per_group, inhibit_per_device) {
  auto backend = on_io_uring::make();
  if (!backend) return skip_because("io_uring is not to be had: " + backend.error().sentence());
  passthrough<on_io_uring, Policy> vm{std::move(*backend)};
  auto mediated = must(vm.dma->attach(mediated_group()));
  auto vgpu = must(mediated.open("vgpu", agrees_to_discards));
  REQUIRE(vm.dma->usage().mappings != 0);
  CHECK(on_io_uring::pinned(vm.dma->backend().watched()) == 0);
  CHECK(vm.gate.counts() == gate_counts{});

  std::uint64_t before = 1;
  std::uint64_t after = 0;
  std::uint32_t holds_before = 0;
  vm.book.before_each([&](journal_entry const& entry) {
    if (entry.what != backend_call::join) return;
    before = on_io_uring::pinned(vm.dma->backend().watched());
    holds_before = vm.gate.counts().any_holds;
  });
  vm.book.after_each([&](journal_entry const& entry) {
    if (entry.what == backend_call::join) after = on_io_uring::pinned(vm.dma->backend().watched());
  });
  auto pinning = must(vm.dma->attach(pinning_group()));
  CHECK(holds_before == 1);
  CHECK(before == 0);
  CHECK(after == vm.dma->usage().bytes);

  // The mediated device left and came back: the balloon stays down because of the other group.
  must(vgpu.close());
  must(mediated.detach());
  CHECK(vm.gate.counts().any_holds == 1);
  auto again = must(vm.dma->attach(mediated_group()));
  CHECK(must(again.open("vgpu", agrees_to_discards)).get() != nullptr);
  CHECK(vm.gate.counts().any_holds == 1);
  must(pinning.detach());
  CHECK(vm.gate.counts() == gate_counts{});
  CHECK(on_io_uring::pinned(vm.dma->backend().watched()) == 0);
}
