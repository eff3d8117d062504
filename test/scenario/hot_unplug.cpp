// SPDX-License-Identifier: BSL-1.0
// Attach, open, close, unplug in every order: after each step the gate counts exactly the holds
// that somebody who only watches would count, with opt-in and with mixed groups, under each of the
// three policies.
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/backend/software_iommu.hpp>
#include <tether/inhibit/policies.hpp>

#include <support/must.hpp>
#include <support/passthrough.hpp>
#include <support/skip.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace scenario_hot_unplug {

using namespace tether;
using tether_test::must;

namespace {

/// Maps nothing for real and says that it pins: fast enough for every order there is.
struct pretending_to_pin : software_iommu {
  static constexpr bool pins = true;
  using software_iommu::software_iommu;
};
static_assert(backend<pretending_to_pin>);

struct pretended {
  using backend_type = pretending_to_pin;
  static result<backend_type> make() { return pretending_to_pin{}; }
  static std::uint64_t pinned(backend_type&) { return 0; }
};
struct real {
  using backend_type = io_uring_buffers;
  static result<backend_type> make() { return io_uring_buffers::open({.slots = 16}); }
  static std::uint64_t pinned(backend_type& backend) { return backend.pinned_bytes(); }
};

enum class rule { container, group, device };
template <class Policy>
constexpr rule rule_of = std::same_as<Policy, inhibit_per_container> ? rule::container
                         : std::same_as<Policy, inhibit_per_group>   ? rule::group
                                                                     : rule::device;

/// Group 0 pins; the others are mediated and may agree. Two devices each.
constexpr std::array<const char*, 2> device_names{"a", "b"};

/// What a bystander knows: who is there, who agreed. Nothing of tether's counts.
struct bystander {
  struct seen_group {
    bool attached = false;
    bool somebody_agreed = false;
    bool leaving = false;
    std::array<std::optional<bool>, 2> agreed{};  // empty while closed
  };
  rule by;
  std::vector<seen_group> groups;

  static bool undecided(seen_group const& one) {
    return !one.somebody_agreed ||
           std::ranges::any_of(one.agreed, [](auto const& open) { return open && !*open; });
  }
  [[nodiscard]] std::uint32_t holds() const {
    std::uint32_t all = 0;
    for (auto const& one : groups) {
      if (!one.attached) continue;
      if (by == rule::device) {
        all += one.somebody_agreed ? 0U : 1U;
        for (auto const& open : one.agreed) all += open && !*open ? 1U : 0U;
      } else if (undecided(one)) {
        all += 1;
      }
    }
    return by == rule::container && all != 0 ? 1 : all;
  }
};

/// One thing to do. `device` counts 0 and 1; 2: none.
struct deed {
  enum what { attach, open, open_agreeing, close, request, detach } what;
  std::size_t group = 0;
  std::size_t device = 2;
};

std::vector<deed> deeds_of(std::size_t groups) {
  std::vector<deed> all;
  for (std::size_t group = 0; group < groups; ++group) {
    all.push_back({deed::attach, group});
    for (std::size_t device : {std::size_t{0}, std::size_t{1}}) {
      all.push_back({deed::open, group, device});
      all.push_back({deed::open_agreeing, group, device});
      all.push_back({deed::close, group, device});
    }
    all.push_back({deed::detach, group});
  }
  return all;
}

template <class Model, class Policy>
class world {
 public:
  using container_type = container<typename Model::backend_type, Policy>;
  explicit world(std::size_t groups)
      : watcher_{rule_of<Policy>, std::vector<bystander::seen_group>(groups)} {
    static_cast<void>(must(guest_.place(region::ram(ram_), guest_address{0})));
    for (std::size_t i = 0; i < groups; ++i) {
      const auto pins = i == 0 ? pin_class::pins : pin_class::pins_on_demand;
      names_.push_back({"group " + std::to_string(i), {{"a", pins}, {"b", pins}}});
    }
    attached_.resize(groups);
    opened_.resize(groups);
  }

  /// Does it, and holds tether to what the bystander expects.
  void perform(deed const& what) {
    auto& seen = watcher_.groups[what.group];
    auto& group = attached_[what.group];
    const std::uint32_t before = holds();
    std::optional<errc> expected{};
    result<void> done{};
    switch (what.what) {
      case deed::attach: {
        if (seen.attached) expected = errc::already_there;
        auto got = dma_.attach(names_[what.group]);
        if (got) group = *got;
        else done = failure(got.error());
        if (!expected) seen = {.attached = true};
        break;
      }
      case deed::open:
      case deed::open_agreeing: {
        if (!group) return;
        const bool agrees = what.what == deed::open_agreeing;
        expected = refusal(seen, what.group, what.device, agrees);
        auto got =
            group->open(device_names[what.device], agrees ? agrees_to_discards : consent::none);
        if (got) opened_[what.group][what.device] = *got;
        else done = failure(got.error());
        if (!expected) {
          seen.agreed[what.device] = agrees;
          seen.somebody_agreed = seen.somebody_agreed || agrees;
        }
        break;
      }
      case deed::close: {
        auto& device = opened_[what.group][what.device];
        if (!device) return;
        if (!seen.attached || !seen.agreed[what.device]) expected = errc::stale_handle;
        done = device->close();
        if (!expected) seen.agreed[what.device].reset();
        if (!expected) device.reset();
        break;
      }
      case deed::request: {
        if (!group) return;
        if (!seen.attached) expected = errc::stale_handle;
        done = group->request_unplug();
        if (!expected) seen.leaving = true;
        break;
      }
      case deed::detach: {
        if (!group) return;
        if (!seen.attached) expected = errc::stale_handle;
        done = group->detach();
        if (!expected) {
          seen = {};
          opened_[what.group] = {};
          group.reset();
        }
        break;
      }
    }
    if (expected) {
      REQUIRE_FALSE(done);
      CHECK_MESSAGE(done.error().is(*expected), done.error().sentence());
      CHECK(holds() == before);
    } else if (!done) {
      FAIL(done.error().sentence());
    }
    check();
  }

  void check() {
    REQUIRE(holds() == watcher_.holds());
    std::uint32_t members = 0;
    bool pinning = false;
    for (std::size_t i = 0; i < watcher_.groups.size(); ++i) {
      members += watcher_.groups[i].attached ? 1U : 0U;
      pinning = pinning || (i == 0 && watcher_.groups[i].attached);
    }
    REQUIRE(dma_.membership().members == members);
    REQUIRE(dma_.usage().mappings == (members != 0 ? 1U : 0U));
    REQUIRE((Model::pinned(dma_.backend()) == 0 || holds() != 0));
    if constexpr (std::same_as<Model, real>)
      REQUIRE((Model::pinned(dma_.backend()) != 0) == pinning);
  }
  [[nodiscard]] std::uint32_t holds() { return gate_.counts().any_holds; }

 private:
  std::optional<errc> refusal(bystander::seen_group const& seen, std::size_t group,
                              std::size_t device, bool agrees) const {
    if (!seen.attached) return errc::stale_handle;
    if (seen.leaving) return errc::unplug_requested;
    if (seen.agreed[device]) return errc::already_there;
    if (agrees && group == 0) return errc::consent_refused;
    auto const& other = seen.agreed[1 - device];
    if (watcher_.by != rule::device && other && *other != agrees) return errc::mixed_group;
    return {};
  }

  ram_block ram_ = must(ram_block::allocate("ram", 16 * KiB));
  address_space guest_;
  discard_gate<> gate_;
  container_type dma_{guest_, gate_, must(Model::make())};
  bystander watcher_;
  std::vector<endpoint_group> names_;
  std::vector<std::optional<typename container_type::attached>> attached_;
  std::vector<std::array<std::optional<typename container_type::opened>, 2>> opened_;
};

/// Every sequence of `length` deeds of two groups.
template <class Policy>
std::uint64_t every_sequence(std::size_t length) {
  const auto all = deeds_of(2);
  std::vector<std::size_t> digits(length, 0);
  std::uint64_t sequences = 0;
  for (;;) {
    // The first deed can only be an attach: anything else has no handle yet, and does nothing.
    if (all[digits[0]].what == deed::attach) {
      world<pretended, Policy> w{2};
      for (const std::size_t digit : digits) w.perform(all[digit]);
      ++sequences;
    }
    std::size_t at = length;
    while (at != 0 && ++digits[at - 1] == all.size()) digits[--at] = 0;
    if (at == 0) return sequences;
  }
}

template <class Model, class Policy>
void random_walks(std::uint32_t seeds, std::uint32_t steps) {
  if (auto backend = Model::make(); !backend)
    return tether_test::skip_because(backend.error().sentence());
  for (std::uint32_t seed = 1; seed <= seeds; ++seed) {
    CAPTURE(seed);
    world<Model, Policy> w{3};
    auto all = deeds_of(3);
    for (std::size_t group = 0; group < 3; ++group) all.push_back({deed::request, group});
    std::uint32_t random = seed * 2654435761U;
    for (std::uint32_t step = 0; step < steps; ++step) {
      random = random * 1664525U + 1013904223U;
      w.perform(all[(random >> 8) % all.size()]);
    }
  }
}

/// All is attached and open; then it is taken down in every order.
template <class Model, class Policy>
void every_order_of_unplug() {
  if (auto backend = Model::make(); !backend)
    return tether_test::skip_because(backend.error().sentence());
  std::vector<deed> down{{deed::close, 0, 0},
                         {deed::close, 1, 0},
                         {deed::close, 1, 1},
                         {deed::detach, 0},
                         {deed::detach, 1}};
  std::array<std::size_t, 5> order{0, 1, 2, 3, 4};
  do {
    for (const bool requested : {false, true}) {
      world<Model, Policy> w{2};
      w.perform({deed::attach, 0});
      w.perform({deed::open, 0, 0});
      w.perform({deed::attach, 1});
      w.perform({deed::open_agreeing, 1, 0});
      // A mixed group, where the policy admits one.
      w.perform({rule_of<Policy> == rule::device ? deed::open : deed::open_agreeing, 1, 1});
      if (requested) {
        w.perform({deed::request, 0});
        w.perform({deed::open, 0, 1});
        w.perform({deed::request, 1});
      }
      for (const std::size_t at : order) w.perform(down[at]);
      CHECK(w.holds() == 0);
    }
  } while (std::ranges::next_permutation(order).found);
}

}  // namespace

TEST_CASE(
    "after every sequence of four deeds the gate counts exactly the holds that are needed, per "
    "group") {
  CHECK(every_sequence<inhibit_per_group>(4) == 2U * 16 * 16 * 16);
}
TEST_CASE(
    "after every sequence of four deeds the gate counts exactly the holds that are needed, per "
    "container") {
  CHECK(every_sequence<inhibit_per_container>(4) == 2U * 16 * 16 * 16);
}
TEST_CASE(
    "after every sequence of four deeds the gate counts exactly the holds that are needed, per "
    "device") {
  CHECK(every_sequence<inhibit_per_device>(4) == 2U * 16 * 16 * 16);
}

TEST_CASE(
    "on long random walks of three groups the gate counts exactly the holds that are needed") {
  random_walks<pretended, inhibit_per_group>(60, 300);
  random_walks<pretended, inhibit_per_container>(60, 300);
  random_walks<pretended, inhibit_per_device>(60, 300);
}
TEST_CASE(
    "on random walks with real pins something is pinned exactly while a pinning group is attached, "
    "and never without a hold") {
  const std::uint32_t walks = tether_test::unpins_slowly() ? 1 : 10;
  random_walks<real, inhibit_per_group>(walks, 120);
  random_walks<real, inhibit_per_container>(walks, 120);
  random_walks<real, inhibit_per_device>(walks, 120);
}
TEST_CASE(
    "hot-unplug in every order gives each hold back when it is no longer needed, and none sooner") {
  every_order_of_unplug<pretended, inhibit_per_group>();
  every_order_of_unplug<pretended, inhibit_per_container>();
  every_order_of_unplug<pretended, inhibit_per_device>();
}

}  // namespace scenario_hot_unplug
