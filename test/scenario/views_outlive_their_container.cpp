// SPDX-License-Identifier: BSL-1.0
// A container is dropped while a BAR of its device is mapped: the kernel keeps the group busy, and
// the pins, until the view is gone. So do the hold and the memory, and no longer.
#include <tether/attach/container.hpp>
#include <tether/backend/iommufd.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/bar_machines.hpp>
#include <support/divided_ram.hpp>
#include <support/failing_allocation.hpp>
#include <support/fake_vfio_kernel.hpp>
#include <support/iommufd_bench.hpp>
#include <support/may_discard.hpp>
#include <support/must.hpp>
#include <support/process_facts.hpp>
#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <barrier>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <thread>
#include <utility>

namespace scenario_views_outlive_their_container {

using namespace tether;
using tether_test::must;
using tether_test::on_iommufd;
using tether_test::on_type1;
using tether_test::on_type1_over_iommufd;

namespace {

/// KVM, which counts what it was told of.
struct told_kvm {
  using slot = kvm_slot;
  static constexpr bool tells = true;
  static inline std::set<int> told;
  result<void> add(int file, std::string_view) noexcept {
    told.insert(file);
    return {};
  }
  result<void> remove(int file, std::string_view) noexcept {
    if (told.erase(file) != 0) return {};
    return failure(error::from_errno("tell KVM to forget", ENOENT));
  }
};
/// One that forgets nothing.
struct stubborn_kvm : told_kvm {
  result<void> remove(int, std::string_view name) noexcept {
    return failure(error::from_errno("tell KVM to forget", EIO).of(name));
  }
};

bool is_there(std::byte* page) {
  unsigned char in_core = 0;
  return ::mincore(page, 4096, &in_core) == 0;
}

template <class Machine, class... Policies>
struct world {
  using container_type = container<typename Machine::backend_type, Policies...>;
  using view_type = basic_bar_view<typename Machine::kernel>;

  Machine machine;
  std::optional<ram_block> ram{must(ram_block::allocate("ram", 64 * KiB))};
  std::optional<address_space> guest{std::in_place};
  std::optional<discard_gate<>> gate{std::in_place};
  region_id region = must(guest->place(region::ram(*ram), guest_address{0}));
  std::optional<container_type> dma{std::in_place, *guest, *gate, machine.make()};

  /// The kernel reaches the guest's memory: so it is neither discarded nor freed.
  void check_kept() {
    CHECK(Machine::mappings() == 1);
    CHECK(gate->counts().any_holds != 0);
    CHECK_FALSE(tether_test::may_discard(*gate, discard_kind::uncoordinated));
    CHECK(ram->free().error().is(errc::still_in_use));
  }
  void check_gone() {
    CHECK(Machine::mappings() == 0);
    CHECK(machine.has_nothing());
    CHECK(gate->counts() == gate_counts{});
    CHECK(tether_test::may_discard(*gate, discard_kind::uncoordinated));
    CHECK(ram->backing().references() == 0);
    must(ram->free());
  }
};

}  // namespace

TEST_CASE_TEMPLATE("the last view ends what its dropped container began", Machine, on_type1, on_type1_over_iommufd, on_iommufd) {
  world<Machine> w;
  std::optional<typename world<Machine>::view_type> one{w.machine.view(*w.dma)};
  std::optional<typename world<Machine>::view_type> another{w.machine.view(*w.dma, true)};
  w.dma.reset();
  must(w.guest->remove(w.region));
  w.check_kept();
  one->template write<std::uint32_t>(0, 5);
  CHECK(one->template read<std::uint32_t>(0) == 5);
  one.reset();
  w.check_kept();
  std::thread{[&] { another.reset(); }}.join();
  w.check_gone();
}

TEST_CASE_TEMPLATE("units that a dropped container had mapped go again after its last view",
                   Machine, on_type1, on_type1_over_iommufd, on_iommufd) {
  Machine machine;
  tether_test::divided_ram memory{4, 64 * KiB};
  std::memset(memory.ram.data(), 1, memory.ram.size());
  address_space guest;
  const auto id = must(guest.place(region::ram(memory.ram), guest_address{0}));
  std::optional<container<typename Machine::backend_type, fixed_block<64 * KiB>>> dma{
      std::in_place, guest, memory.gate, machine.make()};
  REQUIRE(memory.discard(0).has_value());
  std::optional view{machine.view(*dma)};
  REQUIRE(memory.discard(3).has_value());
  dma.reset();
  must(guest.remove(id));
  const auto refused = memory.discard(1);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().is(errc::diverged));
  CHECK(memory.resident(1));
  view.reset();
  CHECK(Machine::mappings() == 0);
  CHECK(memory.discard(1).has_value());
  CHECK_FALSE(memory.resident(1));
  must(memory.ram.free());
}

TEST_CASE_TEMPLATE("whichever policy holds, and KVM is told, the last view gives back all of it",
                   Policy, inhibit_per_container, inhibit_per_device) {
  told_kvm::told.clear();
  world<on_type1, Policy, told_kvm> w;
  std::optional one{w.machine.view(*w.dma)};
  std::optional another{w.machine.view(*w.dma, true)};
  REQUIRE(told_kvm::told.size() == 2);
  w.dma.reset();
  must(w.guest->remove(w.region));
  another.reset();
  w.check_kept();
  one.reset();
  w.check_gone();
  CHECK(told_kvm::told.empty());
}

TEST_CASE("views and their container end on threads of their own, and one of them ends it all") {
  for (int round = 0; round < 100; ++round) {
    world<on_iommufd> w;
    std::optional one{w.machine.view(*w.dma)};
    std::optional another{w.machine.view(*w.dma, true)};
    std::barrier together{3};
    std::thread first{[&] {
      together.arrive_and_wait();
      one.reset();
    }};
    std::thread second{[&] {
      together.arrive_and_wait();
      another.reset();
    }};
    together.arrive_and_wait();
    w.dma.reset();
    first.join();
    second.join();
    must(w.guest->remove(w.region));
    w.check_gone();
  }
}

TEST_CASE_TEMPLATE("a gate that ends before the last view has nothing to be given back", Machine,
                   on_type1, on_type1_over_iommufd, on_iommufd) {
  world<Machine> w;
  std::optional one{w.machine.view(*w.dma)};
  w.dma.reset();
  w.gate.reset();
  CHECK(Machine::mappings() == 1);
  one.reset();
  CHECK(Machine::mappings() == 0);
  CHECK(w.machine.has_nothing());
  must(w.guest->remove(w.region));
  must(w.ram->free());
}

TEST_CASE_TEMPLATE("a block that ends before the last view is freed by that", Machine, on_type1, on_type1_over_iommufd, on_iommufd) {
  const auto ended = tether_test::in_a_child([] {
    world<Machine> w;
    std::optional one{w.machine.view(*w.dma)};
    std::byte* const bytes = w.ram->data();
    w.dma.reset();
    w.guest.reset();
    w.ram.reset();
    *bytes = std::byte{1};  // it is there
    if (!is_there(bytes) || Machine::mappings() != 1) return 1;
    if (w.gate->counts().any_holds == 0) return 2;
    one.reset();
    if (is_there(bytes)) return 3;
    if (Machine::mappings() != 0 || w.gate->counts() != gate_counts{}) return 4;
    return 0;
  });
  CHECK(ended.exit_code == 0);
  CHECK(ended.said.find("tether[R3]") != std::string::npos);
  CHECK(ended.said.ends_with(" ('ram')\n"));
}

TEST_CASE_TEMPLATE("out of memory for what is left, holds and memory are kept for ever", Machine,
                   on_type1, on_type1_over_iommufd, on_iommufd) {
  if (!tether_test::allocations_can_fail) return tether_test::cannot_fail_allocations();
  const auto ended = tether_test::in_a_child([] {
    world<Machine> w;
    std::optional one{w.machine.view(*w.dma)};
    tether_test::failing_allocation = 1;
    w.dma.reset();
    one.reset();
    return w.gate->counts().any_holds == 1 && w.ram->backing().references() != 0 ? 0 : 1;
  });
  CHECK(ended.exit_code == 0);
  CHECK(ended.said.find("tether[D2]") != std::string::npos);
}

TEST_CASE_TEMPLATE(
    "after a container that the kernel does not let go of, a program ends in order, and has said "
    "once what stands, and why",
    Machine, on_type1, on_type1_over_iommufd, on_iommufd) {
  for (const bool viewed : {false, true}) {
    CAPTURE(viewed);
    const auto ended = tether_test::in_a_child([viewed] {
      world<Machine, stubborn_kvm> w;
      std::optional<typename world<Machine>::view_type> one{w.machine.view(*w.dma)};
      if (!viewed) one.reset();
      w.dma.reset();
      one.reset();
      const bool kept = w.gate->counts().any_holds == 1 &&
                        !tether_test::may_discard(*w.gate, discard_kind::uncoordinated);
      std::byte* const bytes = w.ram->data();
      w.gate.reset();
      w.guest.reset();
      w.ram.reset();
      return kept && is_there(bytes) ? 0 : 1;
    });
    CHECK_FALSE(ended.aborted);
    CHECK(ended.exit_code == 0);
    CHECK(ended.said.find("tether[D2]") != std::string::npos);
    CHECK(ended.said.find("tell KVM to forget") != std::string::npos);
    CHECK(ended.said.find("abandon()") != std::string::npos);
    CHECK(std::count(ended.said.begin(), ended.said.end(), '\n') == 1);
  }
}

TEST_CASE("a block that a map still shows stops the program, whatever a device may reach") {
  CHECK(tether_test::stopped_by([] {
          world<on_type1> w;
          std::optional one{w.machine.view(*w.dma)};
          w.dma.reset();
          std::optional<ram_block> shown{must(ram_block::allocate("shown", 4096))};
          static_cast<void>(must(w.guest->place(region::ram(*shown), guest_address{GiB})));
          shown.reset();
        }).find("tether[R1]") != std::string::npos);
}

}  // namespace scenario_views_outlive_their_container
