// SPDX-License-Identifier: BSL-1.0
// What an io_uring container shares with others: its ring with the children of its process, and its
// user's locked-memory limit with the rings that are still being torn down.
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>

#include <support/must.hpp>
#include <support/pinned_memory.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <linux/io_uring.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <tuple>
#include <type_traits>
#include <unistd.h>
#include <utility>
#include <vector>

namespace scenario_io_uring_processes {

using namespace tether;
using namespace tether_test;

namespace {

/// Linux, but a slot can be made to stay full when it is emptied, so that its tag does not come,
/// and waits to end at once as if their time had passed.
struct tagless_kernel : linux_kernel {
  static inline bool lost = false;
  struct emptied_slot {
    long ring;
    std::uint32_t slot;
  };
  static inline std::optional<emptied_slot> late;

  /// Empties the slot, so that its tag comes after all.
  static void recover() {
    lost = false;
    iovec nothing{};
    std::uint64_t tag = 0;
    io_uring_rsrc_update2 change{};
    change.offset = late->slot;
    change.data = reinterpret_cast<std::uintptr_t>(&nothing);
    change.tags = reinterpret_cast<std::uintptr_t>(&tag);
    change.nr = 1;
    CHECK(linux_kernel::call(SYS_io_uring_register, late->ring,
                             long{IORING_REGISTER_BUFFERS_UPDATE}, static_cast<void*>(&change),
                             static_cast<long>(sizeof change)) == 1);
  }

  template <class... Arguments>
  static answer call(long number, Arguments... arguments) noexcept {
    const std::tuple all{arguments...};
    if constexpr (sizeof...(Arguments) == 6) {
      if (lost && number == SYS_io_uring_enter && std::get<2>(all) > 0) return -ETIME;
    }
    if constexpr (std::is_same_v<std::tuple<Arguments...>, std::tuple<long, long, void*, long>>) {
      if (lost && std::get<1>(all) == IORING_REGISTER_BUFFERS_UPDATE) {
        const auto& change =
            *static_cast<io_uring_rsrc_update2 const*>(static_cast<void const*>(std::get<2>(all)));
        late = emptied_slot{std::get<0>(all), change.offset};
        return 1;
      }
    }
    return linux_kernel::call(number, arguments...);
  }
};

endpoint_group passed_through() { return {"passed through", {{"nic", pin_class::pins}}}; }

/// A guest of 1 MiB with a device passed through.
template <class Backend>
struct world {
  explicit world(Backend backend) : dma{std::in_place, guest, gate, std::move(backend)} {
    region = must(guest.place(region::ram(ram, block_offset{0}, 1 * MiB), guest_address{0}));
  }
  ram_block ram = must(ram_block::allocate("ram", 1 * MiB));
  address_space guest;
  discard_gate<> gate;
  std::optional<container<Backend>> dma;
  region_id region{};
};

/// The exit code of a child that does this; -1 where it did not exit.
template <class Act>
int in_a_child(Act act) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) ::_exit(act());
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("a child of a fork destroys its copy of a container, and the parent's pins stay") {
  auto backend = io_uring_buffers::open({.slots = 512});
  if (!backend) return skip_because(backend.error().sentence());
  world<io_uring_buffers> w{std::move(*backend)};
  const auto before = pinned_by_the_kernel();
  auto group = must(w.dma->attach(passed_through()));
  auto device = must(group.open("nic"));
  const auto pinned = pinned_by_the_kernel();
  CHECK(pinned == before + 1 * MiB);
  CHECK(in_a_child([&] {
          w.dma.reset();
          return 0;
        }) == 0);
  CHECK(pinned_by_the_kernel() == pinned);
  // The slots still hold the buffers, and no tag is missing.
  const std::array<std::byte, 3> sent{std::byte{1}, std::byte{2}, std::byte{3}};
  must(device->dma_write(io_address{4096}, sent));
  CHECK(w.ram.data()[4098] == std::byte{3});
  must(device.close());
  must(group.detach());
  CHECK(pinned_by_the_kernel() == before);
  CHECK_FALSE(w.dma->diverged());
}

TEST_CASE("in a child a backend maps nothing, and what it undoes is not the parent's") {
  auto opened = io_uring_buffers::open({.slots = 8});
  if (!opened) return skip_because(opened.error().sentence());
  auto& iommu = *opened;
  const host_memory memory{8 * host_page()};
  auto group = must(iommu.join(passed_through()));
  auto device = must(iommu.open(group, "nic"));
  const auto page = host_page();
  const auto before = pinned_by_the_kernel();
  must(iommu.map(memory.at(0, 0, page)));
  const auto pinned = pinned_by_the_kernel();
  CHECK(pinned == before + page);
  std::array<std::byte, 4> some{};
  CHECK(in_a_child([&] {
          if (!iommu.map(memory.at(page, page, page)).error().is(errc::stale_handle)) return 1;
          if (!iommu.join({"other", {{"nic"}}}).error().is(errc::stale_handle)) return 2;
          if (!iommu.open(group, "nic").error().is(errc::stale_handle)) return 3;
          const auto read = device.dma_read(io_address{0}, some);
          if (!read.error().is(errc::stale_handle)) return 4;
          if (read.error().sentence().find("open another one here") == std::string::npos) return 5;
          if (!iommu.quiesce()) return 6;
          if (!iommu.unmap({io_address{0}, io_address{page - 1}})) return 7;
          if (!iommu.close(device)) return 8;
          if (!iommu.leave(group)) return 9;
          if (!iommu.abandon()) return 10;
          opened = failure(error{"gone", errc::stale_handle});
          return 0;
        }) == 0);
  CHECK(pinned_by_the_kernel() == pinned);
  must(device.dma_read(io_address{0}, some));
  must(iommu.close(device));
  must(iommu.leave(group));
  CHECK(pinned_by_the_kernel() == before);
}

TEST_CASE("a tag that never comes makes the container diverge instead of waiting for ever") {
  using backend_type = basic_io_uring_buffers<tagless_kernel>;
  auto backend =
      backend_type::open({.slots = 512, .longest_wait = std::chrono::milliseconds{7'000}});
  if (!backend) return skip_because(backend.error().sentence());
  world<backend_type> w{std::move(*backend)};
  const auto before = pinned_by_the_kernel();
  auto group = must(w.dma->attach(passed_through()));
  tagless_kernel::lost = true;
  const auto detached = group.detach();
  REQUIRE_FALSE(detached);
  CHECK(detached.error().is_errno(ETIME));
  CHECK(detached.error().sentence().find("7000 ms") != std::string::npos);
  CHECK(w.dma->diverged());
  CHECK(w.gate.counts().any_holds == 1);
  CHECK(w.dma->abandon().error().is_errno(ETIME));
  CHECK(w.gate.counts().any_holds == 1);
  tagless_kernel::recover();
  must(w.dma->abandon());
  CHECK(w.gate.counts().any_holds == 0);
  CHECK(pinned_by_the_kernel() == before);
}

TEST_CASE("an ordinary user opens and closes a ring 3,000 times, and has 500 at once") {
  if (const auto probe = io_uring_buffers::open(); !probe)
    return skip_because(probe.error().sentence());
  const auto before = [] {
    const rlimit files{2048, 2048};
    const rlimit locked{8 * MiB, 8 * MiB};
    return ::setrlimit(RLIMIT_NOFILE, &files) == 0 && ::setrlimit(RLIMIT_MEMLOCK, &locked) == 0 &&
           (::geteuid() != 0 || ::setresuid(64322, 64322, 64322) == 0);
  };
  const int refused = in_a_child([&] {
    if (!before()) return 77;
    int failures = 0;
    for (int round = 0; round != 3000; ++round) failures += io_uring_buffers::open() ? 0 : 1;
    for (int round = 0; round != 100; ++round) {
      auto opened = io_uring_buffers::open();
      failures += opened && opened->join(passed_through()) ? 0 : 1;
    }
    return failures < 70 ? failures : 70;
  });
  if (refused == 77) return skip_because("the limits of a child cannot be set");
  CHECK(refused == 0);
  CHECK(in_a_child([&] {
          if (!before()) return 77;
          std::vector<io_uring_buffers> all;
          for (int i = 0; i != 500; ++i) {
            auto opened = io_uring_buffers::open();
            if (!opened) return 1;
            all.push_back(std::move(*opened));
          }
          return 0;
        }) == 0);
}

}  // namespace scenario_io_uring_processes
