// SPDX-License-Identifier: BSL-1.0
// An attach that the limit of locked memory refuses names one number; with the limit raised to it,
// the same attach succeeds, whatever the backend, whatever is locked already.
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/iommufd.hpp>
#include <tether/backend/vfio_type1.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>

#include <support/fake_sysfs.hpp>
#include <support/fake_vfio_kernel.hpp>
#include <support/iommufd_bench.hpp>
#include <support/must.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace scenario_locked_memory_limit {

using namespace tether;
using namespace tether_test;

namespace {

/// A guest with three pieces of memory, 448 KiB in all.
struct guest_of_three {
  ram_block ram = must(ram_block::allocate("ram", 448 * KiB));
  address_space guest;
  discard_gate<> gate;

  guest_of_three() {
    place(0, 64 * KiB, 0);
    place(64 * KiB, 128 * KiB, 16 * MiB);
    place(192 * KiB, 256 * KiB, 32 * MiB);
  }
  void place(std::uint64_t from, std::uint64_t size, std::uint64_t at) {
    static_cast<void>(
        must(guest.place(region::ram(ram, block_offset{from}, size), guest_address{at})));
  }
};

/// Attaches under limits of every size, and under the one that the refusal names.
template <class Machine, class Attach>
void one_number_is_enough(Machine& machine, Attach attach) {
  for (std::uint64_t limit = 4 * KiB; limit < 448 * KiB; limit += 20 * KiB) {
    CAPTURE(limit);
    machine.lockable = limit;
    const auto refused = attach();
    REQUIRE(!refused);
    CHECK(refused.error().is_errno(ENOMEM));
    CHECK(refused.error().number() * KiB > limit);
    CHECK(refused.error().sentence().find("(ulimit -l)") != std::string::npos);
    machine.lockable = refused.error().number() * KiB;
    auto attached = attach();
    REQUIRE(attached);
    must(attached->detach());
  }
}

}  // namespace

TEST_CASE("type1: what the process has locked and all of this attach, in pieces or whole") {
  auto& machine = fake_vfio_kernel::start_anew();
  machine.groups["/dev/vfio/1"].is = {};
  machine.groups["/dev/vfio/2"].is = {.devices = {"uuid"}, .pins = false};
  fake_sysfs sysfs;
  sysfs.add("0000:01:00.0", "pci", "1", "vfio-pci");
  sysfs.add("uuid", "mdev", "2");
  using backend = basic_vfio_type1<fake_vfio_kernel>;
  guest_of_three g;
  const auto exactly = [&](auto& dma) {
    one_number_is_enough(machine, [&] { return dma.attach(vfio_group{"/dev/vfio/1"}); });
    machine.lockable = 100 * KiB;
    CHECK(dma.attach(vfio_group{"/dev/vfio/1"}).error().number() == 448);
  };
  container<backend> whole{g.guest, g.gate, backend{vfio_sysfs{sysfs.root()}}};
  exactly(whole);
  container<backend, fixed_block<16 * KiB>> blocks{g.guest, g.gate,
                                                   backend{vfio_sysfs{sysfs.root()}}};
  exactly(blocks);
  // Mapped for a mediated group, which pins nothing: the join that pins is what is refused.
  auto mediated = must(whole.attach(vfio_group{"/dev/vfio/2"}));
  one_number_is_enough(machine, [&] { return whole.attach(vfio_group{"/dev/vfio/1"}); });
  must(mediated.detach());
}

TEST_CASE("a compulsory change names what all that it added needs, mapped or left out") {
  auto& machine = fake_vfio_kernel::start_anew();
  machine.groups["/dev/vfio/1"].is = {};
  using backend = basic_vfio_type1<fake_vfio_kernel>;
  for (std::uint64_t limit = 0; limit < 448 * KiB; limit += 20 * KiB) {
    CAPTURE(limit);
    ram_block ram = must(ram_block::allocate("ram", 464 * KiB));
    address_space guest;
    discard_gate<> gate;
    container<backend> dma{guest, gate, backend{vfio_sysfs{"/nonexistent"}}};
    static_cast<void>(
        must(guest.place(region::ram(ram, block_offset{448 * KiB}, 16 * KiB), guest_address{0})));
    auto attached = must(dma.attach(vfio_group{"/dev/vfio/1"}));
    const auto add_three = [&] {
      auto change = guest.begin(commit_kind::compulsory);
      std::uint64_t from = 0;
      for (const std::uint64_t size : {256 * KiB, 64 * KiB, 128 * KiB}) {
        static_cast<void>(must(change.place(region::ram(ram, block_offset{from}, size),
                                            guest_address{16 * MiB + 2 * from})));
        from += size;
      }
      return must(change.commit());
    };
    machine.lockable = 16 * KiB + limit;
    const auto told = add_three();
    REQUIRE(told.fenced.size() == 1);
    CHECK(told.fenced.front().number() == 464);
    machine.lockable = told.fenced.front().number() * KiB;
    must(attached.detach());
    attached = must(dma.attach(vfio_group{"/dev/vfio/1"}));
    CHECK(machine.locked() == 464 * KiB);
    machine.lockable = ~std::uint64_t{0};
  }
}

TEST_CASE("iommufd: of the user by default, of the process where the context says so") {
  for (const auto whose : {iommufd_accounting::per_user, iommufd_accounting::per_process}) {
    CAPTURE(whose == iommufd_accounting::per_user);
    iommufd_bench b;
    const auto context = must(iommufd_bench::context_type::open(whose));
    guest_of_three g;
    container<iommufd_bench::backend_type> dma{
        g.guest, g.gate, must(iommufd_bench::backend_type::open(context, b.sysfs()))};
    one_number_is_enough(b.machine, [&] { return dma.attach(b.edu); });
    b.machine.lockable = 100 * KiB;
    const auto refused = dma.attach(b.edu).error();
    CHECK((refused.sentence().find("all that this user pins") != std::string::npos) ==
          (whose == iommufd_accounting::per_user));
    auto mediated = must(dma.attach(b.mtty));
    one_number_is_enough(b.machine, [&] { return dma.attach(b.edu); });
    must(mediated.detach());
  }
}

namespace {

/// In a child, as an ordinary user with `limit`. Answers what `act` does, or 77 where the limit
/// could not be raised later.
template <class Act>
int as_a_user_with(std::uint64_t limit, Act act) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    rlimit now{};
    if (::getrlimit(RLIMIT_MEMLOCK, &now) != 0 || now.rlim_max < 8 * MiB) ::_exit(77);
    now.rlim_cur = limit;
    if (::setrlimit(RLIMIT_MEMLOCK, &now) != 0) ::_exit(1);
    if (::geteuid() == 0 && ::setresuid(64322, 64322, 64322) != 0) ::_exit(77);
    ::_exit(act());
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child || !WIFEXITED(status)) return 99;
  return WEXITSTATUS(status);
}

/// An attach is refused, and works with the limit that the refusal names. Answers 0.
int refused_once(address_space& guest, discard_gate<>& gate, io_uring_buffers ring) {
  container<io_uring_buffers> dma{guest, gate, std::move(ring)};
  const endpoint_group group{"g", {{"nic", pin_class::pins}}};
  const auto refused = dma.attach(group);
  if (refused || !refused.error().is_errno(ENOMEM)) return 4;
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return 5;
  const auto before = limit.rlim_cur;
  limit.rlim_cur = refused.error().number() * KiB;
  if (limit.rlim_cur <= before || ::setrlimit(RLIMIT_MEMLOCK, &limit) != 0) return 6;
  auto attached = dma.attach(group);
  return !attached ? 7 : attached->detach() ? 0 : 8;
}

}  // namespace

TEST_CASE("io_uring: what other rings hold is counted") {
  if (const auto probe = io_uring_buffers::open({.slots = 8}); !probe)
    return skip_because(probe.error().sentence());
  const int answer = as_a_user_with(192 * KiB, [] {
    guest_of_three g;
    auto ring = io_uring_buffers::open({.slots = 8});
    auto other = io_uring_buffers::open({.slots = 8});
    if (!ring || !other) return 2;
    auto joined = other->join({"other", {{"nic", pin_class::pins}}});
    if (!joined || !other->map({{io_address{0}, io_address{64 * KiB - 1}}, g.ram.host()})) return 3;
    return refused_once(g.guest, g.gate, std::move(*ring));
  });
  if (answer == 77) return skip_because("an ordinary user cannot be tried here");
  CHECK(answer == 0);
}

TEST_CASE("io_uring: of a huge page all of it is counted, however little is mapped") {
  if (const auto probe = io_uring_buffers::open({.slots = 8}); !probe)
    return skip_because(probe.error().sentence());
  const int answer = as_a_user_with(64 * KiB, [] {
    ram_block ram = must(ram_block::allocate("ram", 4 * MiB));
    auto* const at = reinterpret_cast<char*>(static_cast<std::uintptr_t>(ram.host().value));
    if (::madvise(at, 4 * MiB, MADV_HUGEPAGE) != 0) return 77;
    for (const std::uint64_t touched : {0 * MiB, 2 * MiB}) at[touched] = 1;
    address_space guest;
    discard_gate<> gate;
    for (const std::uint64_t from : {1 * MiB, 3 * MiB})
      static_cast<void>(
          must(guest.place(region::ram(ram, block_offset{from}, 4 * KiB), guest_address{from})));
    auto ring = io_uring_buffers::open({.slots = 8});
    if (!ring) return 2;
    const int how = refused_once(guest, gate, std::move(*ring));
    return how == 4 ? 77 : how;  // no huge pages here
  });
  if (answer == 77) return skip_because("no huge pages, or no ordinary user");
  CHECK(answer == 0);
}

}  // namespace scenario_locked_memory_limit
