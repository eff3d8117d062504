// SPDX-License-Identifier: BSL-1.0
#include <tether/attach/detail/executor.hpp>

#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/testing/recording.hpp>

#include <support/must.hpp>
#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <future>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace runtime_attach_detail_executor {

using namespace tether;
using namespace tether::detail;
using tether_test::must;
using tether_test::stopped_by;

namespace {

const endpoint_group nics{"nics", {{"nic", pin_class::pins}}};

struct watched_listener {
  std::string told;
  void begin(commit_kind) noexcept { told += 'b'; }
  void remove(section const&) noexcept { told += 'r'; }
  void add(section const&) noexcept { told += 'a'; }
  result<void> commit_monitored(unmonitored&) noexcept {
    told += 'c';
    return {};
  }
};

/// Says that it pins, so that somebody must be held down.
struct pins_by_its_word : software_iommu {
  static constexpr bool pins = true;
  using software_iommu::software_iommu;
};

/// A user's policy of two scopes: a hold for the group until it needs none, and one for the
/// container meanwhile.
struct for_both_scopes {
  using slot = inhibition_slot;
  [[nodiscard]] static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.attached && !group.needs_no_hold() ? 1 : 0;
  }
  [[nodiscard]] static constexpr std::uint32_t holds(container_counts all) noexcept {
    return all.need_no_hold < all.members ? 1 : 0;
  }
};

/// Needs more once the twentieth device closes: further than anybody asks inside the compiler.
struct stumbles_at_nineteen {
  using slot = inhibition_slot;
  [[nodiscard]] static constexpr std::uint32_t holds(group_counts group) noexcept {
    return !group.attached || group.needs_no_hold() ? 0 : group.declined == 19 ? 3 : 1;
  }
};
/// Right while it is looked at.
struct two_faced {
  using slot = inhibition_slot;
  [[nodiscard]] static constexpr std::uint32_t holds(group_counts group) noexcept {
    return std::is_constant_evaluated() && group.attached && !group.needs_no_hold() ? 1 : 0;
  }
};

/// One of its drains is cancelled, as a second hold's is if stop is requested while a discard looks
/// in that will be turned away.
struct interrupted_indicator : detail::plain_reader_indicator {
  using detail::plain_reader_indicator::plain_reader_indicator;
  static inline int drains_until_one_is_cancelled = 0;

  template <class Lock, class Limits>
  [[nodiscard]] detail::drained drain(bool coordinated_too, Lock& lock,
                                      Limits const& how) noexcept {
    if (--drains_until_one_is_cancelled == 0) return detail::drained::cancelled;
    return detail::plain_reader_indicator::drain(coordinated_too, lock, how);
  }
};
struct interrupted : single_threaded {
  using reader_indicator = interrupted_indicator;
};

/// What a container does with a pointer to who watches.
struct watchable : detail::group_operations<recording<software_iommu>,
                                            configuration<recording<software_iommu>>> {
  using base =
      detail::group_operations<recording<software_iommu>, configuration<recording<software_iommu>>>;
  using base::attach_with;
  using base::base;
  using base::detach;
};

}  // namespace

TEST_CASE(
    "a watched replay is a memory listener that passes everything on, and commits with who "
    "watches") {
  watched_listener listener;
  unmonitored nobody;
  detail::monitored_replay<watched_listener, unmonitored> replay{listener, nobody};
  static_assert(memory_listener<decltype(replay)>);
  replay.begin(commit_kind::refusable);
  replay.remove({});
  replay.add({});
  CHECK(replay.commit().has_value());
  CHECK(listener.told == "brac");
}

TEST_CASE(
    "a device that its backend cannot classify is refused with the backend's reason, whatever it "
    "agrees to, and is not opened") {
  address_space guest;
  discard_gate<> gate;
  container<recording<pins_by_its_word>> dma{guest, gate};
  auto group = must(dma.attach(nics));
  dma.backend().log().clear();
  for (const consent agrees : {consent::none, consent::given}) {
    const auto refused = group.open("gpu", agrees);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().is(errc::no_such_device));
    CHECK(dma.backend().log().entries().empty());
  }
}

TEST_CASE("of a policy's two scopes neither keeps its hold if the other's is refused") {
  for (const int which : {1, 2}) {
    CAPTURE(which);
    address_space guest;
    discard_gate<interrupted> gate;
    container<recording<pins_by_its_word>, for_both_scopes, interrupted> dma{guest, gate};
    interrupted_indicator::drains_until_one_is_cancelled = which;
    const auto refused = dma.attach(nics);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == std::make_error_code(std::errc::operation_canceled));
    CHECK(refused.error().subject() == (which == 1 ? "nics" : "container"));
    CHECK(gate.counts() == gate_counts{});
    CHECK(dma.backend().log().entries().empty());
    static_cast<void>(must(dma.attach(nics)));
    CHECK(gate.counts().any_holds == 2);
  }
}

TEST_CASE(
    "a policy that needs more holds after a close than before stops the program, and the gate "
    "stays closed") {
  const std::string said = stopped_by([] {
    address_space guest;
    discard_gate<> gate;
    container<pins_by_its_word, stumbles_at_nineteen> dma{guest, gate};
    std::vector<endpoint> many;
    for (int i = 0; i < 20; ++i) many.push_back({"nic" + std::to_string(i), pin_class::pins});
    auto group = must(dma.attach(endpoint_group{"many", std::move(many)}));
    for (int i = 0; i < 19; ++i) static_cast<void>(must(group.open("nic" + std::to_string(i))));
    if (gate.counts().any_holds != 3) return;
    auto last = must(group.open("nic19"));
    if (gate.counts().any_holds != 1) return;
    static_cast<void>(last.close());
  });
  CHECK(said.find("tether[I15]") != std::string::npos);
}
TEST_CASE(
    "a policy that answers otherwise in the program than inside the compiler stops it with its "
    "first container") {
  const std::string said = stopped_by([] {
    address_space guest;
    discard_gate<> gate;
    const container<pins_by_its_word, two_faced> dma{guest, gate};
  });
  CHECK(said.find("tether[I16]") != std::string::npos);
}

TEST_CASE("whoever watches an attach can end its wait for a discard that is under way") {
  address_space guest;
  discard_gate<> gate;
  container<recording<pins_by_its_word>> dma{guest, gate};
  std::promise<void> inside;
  std::promise<void> done;
  std::jthread discarder{[&] {
    const auto permit = gate.permit(discard_kind::uncoordinated);
    inside.set_value();
    // not for ever, if the attach waits all the same
    static_cast<void>(done.get_future().wait_for(std::chrono::seconds{10}));
  }};
  inside.get_future().wait();
  std::stop_source stop;
  stop.request_stop();
  monitored who{stop.get_token(), [](mapping const&) noexcept {}};
  const auto cancelled = dma.attach(nics, who);
  done.set_value();
  REQUIRE_FALSE(cancelled);
  CHECK(cancelled.error().code() == std::make_error_code(std::errc::operation_canceled));
  CHECK(cancelled.error().subject() == "nics");
  CHECK(dma.backend().log().entries().empty());
  CHECK(gate.counts() == gate_counts{});
}

TEST_CASE(
    "a join that fails for anything but locked memory is told as it is, however much is mapped") {
  auto ram = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  discard_gate<> gate;
  journal calls;
  container<recording<software_iommu>> dma{guest, gate, recording<software_iommu>{calls}};
  static_cast<void>(must(guest.place(region::ram(ram), guest_address{0})));
  auto first = must(dma.attach(nics));
  CHECK(dma.usage().bytes == 64 * KiB);
  const error why = error{"join", errc::still_in_use}.advise("{} others use it", 5);
  calls.fail_at(backend_call::join, 1, why);
  const auto second = dma.attach({"disks", {{"disk", pin_class::pins}}});
  REQUIRE(!second);
  CHECK(second.error().sentence().find("5 others use it") != std::string::npos);
  must(first.detach());
}

TEST_CASE("where nobody watches, nobody is asked, whoever it might have been") {
  ram_block ram = must(ram_block::allocate("ram", 64 * KiB));
  address_space guest;
  const region_id placed = must(guest.place(region::ram(ram), guest_address{0}));
  discard_gate<> gate;
  watchable dma{guest, gate, recording<software_iommu>{}, no_kvm{}};
  monitored who{std::stop_token{}, [](mapping const&) noexcept {}};
  const auto ids = must(dma.attach_with(nics, consent::none, static_cast<decltype(who)*>(nullptr)));
  must(dma.detach(ids.group));
  must(guest.remove(placed));
}

}  // namespace runtime_attach_detail_executor
