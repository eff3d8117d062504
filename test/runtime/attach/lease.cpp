// SPDX-License-Identifier: BSL-1.0
#include <tether/attach/lease.hpp>

#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/core/error.hpp>

#include <support/must.hpp>
#include <support/passthrough.hpp>
#include <support/stopped_by.hpp>
#include <support/ungrouped.hpp>

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

namespace runtime_attach_lease {

using namespace tether;
using namespace tether_test;

namespace {

using groups = passthrough<on_software>;
using singles = passthrough<one_by_one<on_software>>;
using software_lease = device_lease<software_device>;
static_assert(!std::is_copy_constructible_v<software_lease> &&
              std::is_nothrow_move_constructible_v<software_lease>);
static_assert(std::is_nothrow_move_assignable_v<software_lease>);

constexpr std::array<std::byte, 2> bytes{std::byte{4}, std::byte{2}};

/// Refused because of a device, of which `many` leases are out: of `subject` itself, or of
/// `blocker`, a part of it.
void check_in_use(result<void> const& done, const char* operation, const char* subject,
                  std::uint64_t many, const char* blocker = "") {
  REQUIRE(!done);
  CHECK(done.error().is(errc::still_in_use));
  CHECK(!done.error().rollback_failed());
  CHECK(std::string{done.error().operation()} == operation);
  CHECK(done.error().subject() == subject);
  CHECK(done.error().blocker() == blocker);
  CHECK(done.error().number() == many);
}

}  // namespace

TEST_CASE("a lease is counted from when it is given to when the last that it was moved to ends") {
  detail::lease_count count;
  int device = 5;
  {
    device_lease<int> first{device, count};
    CHECK(count.out() == 1);
    CHECK(*first == 5);
    CHECK(first.operator->() == &device);
    device_lease<int> moved{std::move(first)};
    CHECK(count.out() == 1);
    device_lease<int> second{device, count};
    CHECK(count.out() == 2);
    CHECK(count.in_the_way_of("close", "nic").number() == 2);
    second = std::move(moved);
    CHECK(count.out() == 2);
    CHECK(*second == 5);
  }
  CHECK(count.out() == 0);
}

TEST_CASE(
    "neither close nor detach nor abandon outlives a lease, whichever device of the group it is "
    "of, and everything is as before") {
  groups w{must(on_software::make())};
  const endpoint_group two{"nics", {{"nic", pin_class::pins}, {"disk", pin_class::pins}}};
  auto group = must(w.dma->attach(two));
  auto first = must(group.open("nic"));
  auto device = must(group.open("disk"));
  const auto before = w.state();
  {
    auto one = must(device.lease());
    auto another = must(device.lease());
    w.book.clear();
    check_in_use(device.close(), "close device", "disk", 2);
    check_in_use(group.detach(), "detach", "nics", 2, "disk");
    check_in_use(w.dma->abandon(), "abandon", "", 2, "disk");
    CHECK(w.book.entries().empty());  // the other device is open as well
    CHECK(w.state() == before);
    must(one->dma_write(io_address{0}, bytes));
    must((*another).dma_write(io_address{0}, bytes));
    w.fill();
    must(group.request_unplug());
  }
  CHECK(w.state() == before);
  must(first.close());
  must(group.detach());
  CHECK(device.lease().error().is(errc::stale_handle));
  CHECK(first.lease().error().is(errc::stale_handle));
}

TEST_CASE("the same for a device that stands alone; a lease of another one is nobody's business") {
  singles w{must(one_by_one<on_software>::make())};
  auto nic = must(w.dma->attach(lone_nic()));
  auto vgpu = must(w.dma->attach(lone_vgpu()));
  {
    const auto lease = must(nic.lease());
    const auto before = w.state();
    check_in_use(nic.detach(), "detach", "nic", 1);
    check_in_use(w.dma->abandon(), "abandon", "", 1, "nic");
    CHECK(w.state() == before);
    must(vgpu.detach());
    CHECK(w.disagreements(*lease) == 0);
  }
  must(nic.detach());
  CHECK(nic.lease().error().is(errc::stale_handle));
}

TEST_CASE(
    "a container that has diverged cannot be abandoned under a lease either, and stays as it is") {
  singles w{must(one_by_one<on_software>::make())};
  auto nic = must(w.dma->attach(lone_nic()));
  w.book.fail_at(backend_call::leave, 1, error{"leave", errc::still_in_use}.with_failed_rollback());
  CHECK(nic.detach().error().rollback_failed());
  REQUIRE(w.dma->diverged());
  {
    const auto lease = must(nic.lease());
    const auto before = w.state();
    check_in_use(w.dma->abandon(), "abandon", "", 1, "nic");
    CHECK(w.state() == before);
  }
  must(w.dma->abandon());
  CHECK_FALSE(w.dma->diverged());
  CHECK(nic.lease().error().is(errc::stale_handle));
}

TEST_CASE("a container that is destroyed under a lease stops the program, and says why") {
  const auto said = stopped_by([] {
    std::optional<groups> w{must(on_software::make())};
    auto group = must(w->dma->attach(pinning_group()));
    const auto nic = must(group.open("nic"));
    const auto lease = must(nic.lease());
    w->dma.reset();
  });
  CHECK(said.find(
            "tether[D1]: a container was destroyed while a lease of one of its devices was out") !=
        std::string::npos);
  const auto alone = stopped_by([] {
    std::optional<singles> w{must(one_by_one<on_software>::make())};
    const auto nic = must(w->dma->attach(lone_nic()));
    const auto lease = must(nic.lease());
    w->dma.reset();
  });
  CHECK(alone.find("tether[D1]") != std::string::npos);
}

TEST_CASE(
    "a device is used on two threads through leases while a third unplugs it and plugs it in "
    "again") {
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  static_cast<void>(must(guest.place(region::ram(ram), guest_address{0})));
  container<software_iommu> dma{guest, gate};
  using handle = opened_device<container<software_iommu>>;
  std::mutex plugged;
  std::optional<handle> now;
  std::atomic<bool> ends{false};
  std::atomic<std::uint64_t> used{0};
  const auto use = [&](io_address at) {
    while (!ends) {
      std::optional<handle> copy;
      {
        const std::lock_guard lock{plugged};
        copy = now;
      }
      if (!copy) continue;
      auto device = copy->lease();
      if (!device) {
        CHECK(device.error().is(errc::stale_handle));
        continue;
      }
      for (int i = 0; i < 20; ++i) must((*device)->dma_write(at, bytes));
      used += 1;
    }
  };
  std::thread first{use, io_address{0}};
  std::thread second{use, io_address{4096}};
  std::uint64_t refused = 0;
  for (int round = 0; round < 200; ++round) {
    auto group = must(dma.attach({"nics", {{"nic"}}}));
    const auto device = must(group.open("nic"));
    {
      const std::lock_guard lock{plugged};
      now = device;
    }
    for (const std::uint64_t before = used; used == before;) std::this_thread::yield();
    for (;;) {
      const auto gone = group.detach();
      if (gone) break;
      REQUIRE(gone.error().is(errc::still_in_use));
      refused += 1;
      if (refused % 8 == 0) {
        const std::lock_guard lock{plugged};
        now.reset();
      }
    }
  }
  ends = true;
  first.join();
  second.join();
  CHECK(used >= 200);
  CHECK(dma.membership() == container_counts{});
}

}  // namespace runtime_attach_lease
