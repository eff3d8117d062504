// SPDX-License-Identifier: BSL-1.0
// Law 20: what a vCPU can want is never behind pinning. A backend stops in the middle of a call and
// goes on only when another thread has asked everything there is to ask, so a question that waits
// for the call waits for ever.
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/listen/progress.hpp>

#include <support/must.hpp>
#include <support/ungrouped.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <thread>
#include <type_traits>
#include <utility>

namespace scenario_asked_meanwhile {

using namespace tether;
using namespace tether_test;

namespace {

/// Where a call stops until it is told to go on. Shut: calls stop.
class gatehouse {
 public:
  void pass() noexcept {
    if (!shut_.exchange(false)) return;
    stopped_.store(true);
    stopped_.notify_all();
    go_on_.wait(false);
  }
  void shut() {
    stopped_ = go_on_ = false;
    shut_ = true;
  }
  /// Runs `call` on another thread, and `meanwhile` here while it is stopped.
  template <class Call, class Meanwhile>
  void stop_in(Call call, Meanwhile meanwhile) {
    shut();
    std::thread other{std::move(call)};
    stopped_.wait(false);
    meanwhile();
    go_on_.store(true);
    go_on_.notify_all();
    other.join();
  }

 private:
  std::atomic<bool> shut_{false};
  std::atomic<bool> stopped_{false};
  std::atomic<bool> go_on_{false};
};

inline gatehouse in_map;
inline gatehouse in_join;
inline gatehouse in_close;
inline bool close_fails = false;

/// A software IOMMU whose calls can be stopped.
class stopping_iommu : public software_iommu {
 public:
  stopping_iommu() = default;

  [[nodiscard]] result<void> map(mapping const& what) noexcept {
    in_map.pass();
    return software_iommu::map(what);
  }
  [[nodiscard]] auto join(group_type const& group) noexcept {
    in_join.pass();
    return software_iommu::join(group);
  }
  [[nodiscard]] result<void> close(device_type& device) noexcept {
    in_close.pass();
    if (std::exchange(close_fails, false))
      return failure(error{"close", errc::still_in_use}.of("nic"));
    return software_iommu::close(device);
  }
};
using of_groups = container<stopping_iommu>;
using of_devices = container<ungrouped<stopping_iommu>>;

struct guest_with_ram {
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  ram_block more = must(ram_block::allocate("more", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  region_id placed = must(guest.place(region::ram(ram), guest_address{0}));
  ~guest_with_ram() { must(guest.remove(placed)); }
};

/// Every question, and what must be answered.
template <class Container>
void ask(Container const& dma, mapped_usage usage, std::uint32_t members) {
  CHECK(dma.usage() == usage);
  CHECK(dma.membership().members == members);
  CHECK_FALSE(dma.diverged());
  CHECK(dma.left_out().empty());
  CHECK(dma.trimmed_bytes() == 0);
  CHECK(std::ranges::equal(dma.usable_iova(), software_iommu{}.usable_iova()));
  const auto all = dma.status();
  CHECK(all.mapped == usage);
  CHECK(all.membership == dma.membership());
  CHECK(all.usable_iova == dma.usable_iova());
  CHECK(all.groups.size() == members);
}

endpoint_group nics(const char* name) { return {name, {{"nic"}}}; }
template <class Container>
auto attach(Container& dma, const char* name) {
  if constexpr (std::is_same_v<Container, of_groups>) return dma.attach(nics(name));
  else return dma.attach(lone_endpoint{name, name});
}
template <class Container>
Container make(guest_with_ram& w) {
  if constexpr (std::is_same_v<Container, of_groups>) return Container{w.guest, w.gate};
  else return Container{w.guest, w.gate, ungrouped<stopping_iommu>{stopping_iommu{}}};
}
/// A device that is open: of a group, or alone.
template <class Container>
auto opened(Container& dma, const char* name) {
  if constexpr (std::is_same_v<Container, of_groups>) {
    auto group = must(attach(dma, name));
    return must(group.open("nic"));
  } else {
    return must(attach(dma, name));
  }
}
template <class Device>
result<void> end(Device& device) {
  if constexpr (requires { device.close(); }) return device.close();
  else return device.detach();
}

constexpr mapped_usage nothing{};
constexpr mapped_usage one_block{1, 64 * KiB};
constexpr mapped_usage two_blocks{2, 128 * KiB};

}  // namespace

TEST_CASE_TEMPLATE("every question is answered while an attach maps, as before it", Container,
                   of_groups, of_devices) {
  guest_with_ram w;
  auto dma = make<Container>(w);
  in_map.stop_in([&] { CHECK(attach(dma, "a").has_value()); }, [&] { ask(dma, nothing, 0); });
  ask(dma, one_block, 1);
}

TEST_CASE_TEMPLATE("every question is answered while a commit maps, and devices are found",
                   Container, of_groups, of_devices) {
  guest_with_ram w;
  auto dma = make<Container>(w);
  const auto nic = opened(dma, "a");
  std::optional<region_id> plugged;
  in_map.stop_in(
      [&] { plugged = must(w.guest.place(region::ram(w.more), guest_address{1 * MiB})); },
      [&] {
        ask(dma, one_block, 1);
        CHECK(nic.get() != nullptr);
        CHECK(nic.lease().has_value());
      });
  ask(dma, two_blocks, 1);
  must(w.guest.remove(*plugged));
}

TEST_CASE_TEMPLATE("devices are found and leased while another one joins", Container, of_groups,
                   of_devices) {
  guest_with_ram w;
  auto dma = make<Container>(w);
  const auto nic = opened(dma, "a");
  in_join.stop_in([&] { CHECK(attach(dma, "b").has_value()); },
                  [&] {
                    ask(dma, one_block, 1);
                    CHECK(nic.get() != nullptr);
                    CHECK(nic.operator->() == nic.get());
                    const auto lease = nic.lease();
                    REQUIRE(lease.has_value());
                    CHECK(&**lease == nic.get());
                  });
  ask(dma, one_block, 2);
}

TEST_CASE_TEMPLATE(
    "a device that is being closed is not given out any more; if it stays open, it is again",
    Container, of_groups, of_devices) {
  guest_with_ram w;
  auto dma = make<Container>(w);
  auto nic = opened(dma, "a");
  const auto not_given = [&] {
    CHECK(nic.get() == nullptr);
    CHECK(nic.lease().error().is(errc::stale_handle));
  };
  close_fails = true;
  in_close.stop_in([&] { CHECK(end(nic).error().is(errc::still_in_use)); }, not_given);
  CHECK(nic.get() != nullptr);
  CHECK(nic.lease().has_value());
  in_close.stop_in([&] { CHECK(end(nic).has_value()); }, not_given);
  not_given();
}

TEST_CASE("what is asked while a group of devices is detached, and the detach fails half-way") {
  guest_with_ram w;
  of_groups dma{w.guest, w.gate};
  auto group = must(dma.attach({"a", {{"disk"}, {"nic"}}}));
  const auto disk = must(group.open("disk"));
  const auto nic = must(group.open("nic"));
  {
    const auto lease = must(nic.lease());
    CHECK(group.detach().error().is(errc::still_in_use));
    CHECK(disk.get() != nullptr);
  }
  close_fails = true;
  CHECK(group.detach().error().is(errc::still_in_use));
  CHECK(disk.lease().has_value());
  CHECK(nic.lease().has_value());
  must(group.detach());
}

TEST_CASE_TEMPLATE("a progress monitor may ask its own container", Container, of_groups,
                   of_devices) {
  guest_with_ram w;
  auto dma = make<Container>(w);
  unsigned asked = 0;
  monitored who{std::stop_token{}, [&](mapping const&) noexcept {
                  ask(dma, nothing, 0);
                  ++asked;
                }};
  if constexpr (std::is_same_v<Container, of_groups>) CHECK(dma.attach(nics("a"), who).has_value());
  else CHECK(dma.attach(lone_endpoint{"a", "a"}, consent::none, who).has_value());
  CHECK(asked == 1);
  ask(dma, one_block, 1);
}

TEST_CASE("what a refused or abandoned container answers is what it has") {
  guest_with_ram w;
  of_groups dma{w.guest, w.gate};
  auto group = must(dma.attach(nics("a")));
  CHECK(dma.attach(nics("a")).error().is(errc::already_there));
  ask(dma, one_block, 1);
  must(dma.abandon());
  ask(dma, nothing, 0);
  CHECK(group.detach().error().is(errc::stale_handle));
}

}  // namespace scenario_asked_meanwhile
