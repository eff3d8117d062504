// SPDX-License-Identifier: BSL-1.0
// A child of a fork has a copy of every object, but the kernel's part is the parent's, and a lock
// that another thread held stays held in the copy. Whatever the child destroys asks the kernel for
// nothing, waits for nothing and stops nothing, and whatever it asks of its parent's is refused: a
// container would be given the child's memory under the parent's addresses. io_uring_processes.cpp has the same for io_uring.
#include <tether/attach/container.hpp>
#include <tether/backend/iommufd.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/discard/balloon.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/bar_machines.hpp>
#include <support/fake_vfio_kernel.hpp>
#include <support/iommufd_bench.hpp>
#include <support/must.hpp>
#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <barrier>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace scenario_children_of_a_fork {

using namespace tether;
using tether_test::must;
using tether_test::on_iommufd;
using tether_test::on_type1;
using tether_test::on_type1_over_iommufd;

namespace {

/// All that a VMM has, and something that is left of a container that is gone.
template <class Machine>
struct world {
  using container_type = container<typename Machine::backend_type>;
  using view_type = basic_bar_view<typename Machine::kernel>;

  Machine machine;
  std::optional<ram_block> ram{must(ram_block::allocate("ram", 64 * KiB))};
  std::optional<ram_block> file{must(ram_block::allocate("file", 64 * KiB, memory_kind::shared))};
  std::optional<address_space> guest{std::in_place};
  std::optional<discard_gate<>> gate{std::in_place};
  std::optional<balloon<>> memory{std::in_place, *guest, *gate};
  region_id region = must(guest->place(region::ram(*ram), guest_address{0}));
  region_id more = must(guest->place(region::ram(*file), guest_address{1 * MiB}));
  std::optional<container_type> dma{std::in_place, *guest, *gate, machine.make()};
  std::optional<view_type> view{machine.view(*dma)};
  std::optional<hold<multi_threaded>> held{*gate->hold(hold_kind::any, "own")};

  void destroy() {
    held.reset();
    dma.reset();
    view.reset();
    memory.reset();
    gate.reset();
    guest.reset();
    ram.reset();
    file.reset();
  }
};

/// Holds the map's and the gate's locks on another thread, as long as it lives.
template <class World>
class busy_elsewhere {
 public:
  explicit busy_elsewhere(World& w)
      : other_{[this, &w] {
          auto change = w.guest->begin();
          w.gate->for_each_holder([&](holder_info const&) {
            if (std::exchange(once_, false)) {
              inside_.arrive_and_wait();
              inside_.arrive_and_wait();
            }
          });
        }} {
    inside_.arrive_and_wait();
  }
  busy_elsewhere(busy_elsewhere const&) = delete;
  busy_elsewhere& operator=(busy_elsewhere const&) = delete;
  ~busy_elsewhere() {
    inside_.arrive_and_wait();
    other_.join();
  }

 private:
  std::barrier<> inside_{2};
  bool once_ = true;
  std::thread other_;
};

template <class Machine>
std::size_t requests() {
  return Machine::kernel::machine().requests.size();
}

}  // namespace

TEST_CASE_TEMPLATE("a child's destructors ask the kernel for nothing and wait for nothing", Machine,
                   on_type1, on_iommufd) {
  world<Machine> w;
  const auto before = requests<Machine>();
  {
    const busy_elsewhere<world<Machine>> busy{w};
    const auto ended = tether_test::in_a_child([&] {
      ::alarm(60);  // a wait that never ends
      w.destroy();
      return requests<Machine>() == before ? 0 : 1;
    });
    CHECK(ended.said == "");
    CHECK_FALSE(ended.aborted);
    CHECK(ended.exit_code == 0);
  }
  // The parent goes on.
  CHECK(w.gate->counts().any_holds == 2);
  w.view.reset();
  w.destroy();
}

TEST_CASE_TEMPLATE("a child ends a view whose container its parent has dropped, and that alone",
                   Machine, on_type1, on_iommufd) {
  world<Machine> w;
  w.dma.reset();
  const auto before = requests<Machine>();
  const auto ended = tether_test::in_a_child([&] {
    w.destroy();
    return requests<Machine>() == before ? 0 : 1;
  });
  CHECK(ended.said == "");
  CHECK(ended.exit_code == 0);
  CHECK(w.gate->counts().any_holds == 2);
  w.view.reset();
  CHECK(w.gate->counts().any_holds == 1);
}

TEST_CASE("a child that exits runs the destructors of what lasts, and ends in order") {
  const auto ended = tether_test::in_a_child([] {
    auto* const w = new world<on_type1>;
    static std::unique_ptr<world<on_type1>> lasting;
    lasting.reset(w);
    w->view.reset();
    const auto child = tether_test::in_a_child([]() -> int { std::exit(0); });
    return child.exit_code == 0 && child.said.empty() ? 0 : 1;
  });
  CHECK(ended.exit_code == 0);
}

TEST_CASE("what a child maps where its parent's private memory lies is not unmapped with that") {
  std::optional<ram_block> block{must(ram_block::allocate("ram", 64 * KiB))};
  const auto ended = tether_test::in_a_child([&] {
    auto* const at = block->data();
    void* const own = ::mmap(at, 64 * KiB, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (own != at) return 1;
    block.reset();
    unsigned char in_core = 0;
    return ::mincore(own, 4096, &in_core) == 0 ? 0 : 2;
  });
  CHECK(ended.exit_code == 0);
}

TEST_CASE_TEMPLATE(
    "a child attaches, maps and detaches nothing of its parent's, and is told whose it is", Machine,
    on_type1, on_type1_over_iommufd, on_iommufd) {
  world<Machine> w;
  ram_block fresh = must(ram_block::allocate("fresh", 64 * KiB));
  const auto ended = tether_test::in_a_child([&] {
    const auto before = requests<Machine>();
    const auto theirs = [](auto const& done, const char* what) {
      return !done && done.error().is(errc::stale_handle) &&
             done.error().operation() == std::string{what} &&
             done.error().sentence().find("the process that forked this one") != std::string::npos;
    };
    if (!theirs(w.machine.attach_other(*w.dma), "attach")) return 1;
    if (!theirs(w.guest->place(region::ram(fresh), guest_address{2 * MiB}),
                "commit of the memory map"))
      return 2;
    if (!theirs(w.guest->remove(w.more), "commit of the memory map")) return 3;
    if (!theirs(w.dma->abandon(), "abandon")) return 4;
    // A map that nobody follows is the child's own.
    address_space own;
    const auto id = own.place(region::ram(fresh), guest_address{0});
    if (!id || !own.remove(*id)) return 5;
    return requests<Machine>() == before ? 0 : 6;
  });
  CHECK(ended.exit_code == 0);
  {
    const auto view = w.guest->view();
    CHECK(view.find(guest_address{2 * MiB}) == nullptr);
  }
  w.view.reset();
  w.destroy();
}

TEST_CASE("a child opens, closes and detaches no device of its parent's") {
  world<on_type1> w;
  auto group = must(w.dma->attach(vfio_group{"/dev/vfio/2"}));
  auto device = must(group.open("0000:02:00.0"));
  const auto ended = tether_test::in_a_child([&] {
    const auto before = requests<on_type1>();
    if (!device.close().error().is(errc::stale_handle)) return 1;
    if (!group.open("0000:02:00.1").error().is(errc::stale_handle)) return 2;
    if (!group.request_unplug().error().is(errc::stale_handle)) return 3;
    if (!group.detach().error().is(errc::stale_handle)) return 4;
    return requests<on_type1>() == before ? 0 : 5;
  });
  CHECK(ended.exit_code == 0);
  must(device.close());
  must(group.detach());
}

TEST_CASE("a child has containers of its own, made after the fork") {
  const auto ended = tether_test::in_a_child([] {
    world<on_type1> w;
    w.view.reset();
    w.held.reset();
    w.dma.reset();
    if (!on_type1::kernel::machine().files.empty()) return 1;
    return w.gate->counts() == gate_counts{} ? 0 : 2;
  });
  CHECK(ended.exit_code == 0);
}

}  // namespace scenario_children_of_a_fork
