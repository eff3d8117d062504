// SPDX-License-Identifier: BSL-1.0
// The proof's search in worlds that are too large for a compiler, over rules and plans that are
// data: so it can be asked which of *all* small rules are right, and what becomes of a plan that
// lacks a step.
#include <tether/proof/search/at_run_time.hpp>

#include <support/proof_seeds.hpp>

#include <tether/attach/lifecycle/plan_rules.hpp>
#include <tether/inhibit/policies.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

namespace exhaustive_proof_at_run_time {

using namespace tether;
using namespace tether::proof;

namespace {

template <class Abstraction, class Scope>
void prove(std::string const& what) {
  const findings found = search<Abstraction, Scope>();
  CHECK(found.safe());
  CHECK(std::string{found.description().view()} == "");
  CHECK(std::string{describe_trace(found.reached.lacks(demanded<Abstraction>())).view()} == "");
  std::printf(
      "figures: proof of %s, %s, %zux%zux%zu: %llu states, %llu transitions, nothing wrong\n",
      what.c_str(), Abstraction::unit == attach_unit::group ? "groups" : "single devices",
      Scope::containers, Scope::groups, Scope::devices,
      static_cast<unsigned long long>(found.states),
      static_cast<unsigned long long>(found.transitions));
}
template <attach_unit Unit>
void prove_all_policies() {
  prove<abstraction<inhibit_per_container, lifecycle_of<Unit>>, scope<2, 2, 2>>(
      "inhibit_per_container");
  prove<abstraction<inhibit_per_group, lifecycle_of<Unit>>, scope<2, 2, 2>>("inhibit_per_group");
  prove<abstraction<inhibit_per_device, lifecycle_of<Unit>>, scope<2, 2, 2>>("inhibit_per_device");
}

/// A rule over a group's counts, or over a container's, that is a number: a bit for each membership.
inline std::uint32_t rule = 0;
struct group_rule {
  using slot = inhibition_slot;
  static std::uint32_t holds(group_counts group) noexcept {
    const std::uint32_t entry =
        (group.consent_known ? 3U : 0U) + std::min<std::uint32_t>(group.declined, 2);
    return group.attached ? rule >> entry & 1U : 0;
  }
  static constexpr bool admits(group_counts group) noexcept {
    return group.agreed == 0 || group.declined == 0;
  }
};
struct container_rule {
  using slot = inhibition_slot;
  static std::uint32_t holds(container_counts container) noexcept {
    // (0,0) (0,1) (1,1) (0,2) (1,2) (2,2) as (need no hold, members)
    constexpr std::array<std::uint32_t, 3> first{0, 1, 3};
    const std::uint32_t members = std::min<std::uint32_t>(container.members, 2);
    return rule >> (first[members] + std::min(container.need_no_hold, members)) & 1U;
  }
  static constexpr bool admits(group_counts group) noexcept {
    return group.agreed == 0 || group.declined == 0;
  }
};

struct census {
  std::uint32_t accepted = 0;
  std::uint32_t last = 0;
  broken_properties refused_for = 0;
};
template <class Policy, attach_unit Unit>
census count_rules() {
  census all;
  for (rule = 0; rule < 64; ++rule) {
    const findings found = search<abstraction<Policy, lifecycle_of<Unit>>>();
    REQUIRE(found.complete);
    all.refused_for |= found.broken;
    if (!found.safe()) continue;
    ++all.accepted;
    all.last = rule;
  }
  return all;
}

/// A lifecycle whose plans are data.
template <attach_unit Unit, bool Tells>
struct plans_as_data {
  static constexpr attach_unit unit = Unit;
  static constexpr bool tells_kvm = Tells;
  static inline std::array<plan, operations> plans{};

  static plan plan_of(operation what) noexcept { return plans[static_cast<std::size_t>(what)]; }
  static void reset() noexcept {
    for (std::size_t i = 0; i < operations; ++i)
      plans[i] = lifecycle_of<Unit, Tells>::plan_of(static_cast<operation>(i));
  }
};

struct score {
  std::uint32_t mutants = 0;
  std::uint32_t by_behaviour = 0;
  std::uint32_t by_structure = 0;
  std::string survivors;
};
template <class Policy, attach_unit Unit, bool Tells>
void judge(score& all, operation changed, std::size_t at, char const* how) {
  using lifecycle = plans_as_data<Unit, Tells>;
  using subject = abstraction<Policy, lifecycle>;
  const coverage wanted = demanded<abstraction<Policy, lifecycle_of<Unit, Tells>>>();
  const findings found = search<subject, small_scope>([](progress const&) {}, 20'000);
  const bool misbehaves = !found.safe() || !found.reached.lacks(wanted).empty();
  bool malformed = false;
  for (std::size_t i = 0; i < operations; ++i)
    malformed = malformed || !well_formed<lifecycle>(static_cast<operation>(i));
  ++all.mutants;
  all.by_behaviour += misbehaves ? 1U : 0U;
  all.by_structure += malformed ? 1U : 0U;
  const std::string name =
      std::string{name_of(changed)} + ", step " + std::to_string(at) + " " + how + "; ";
  if (!misbehaves && !malformed) all.survivors += name;
}
template <class Policy, attach_unit Unit, bool Tells>
score mutate_every_plan() {
  using lifecycle = plans_as_data<Unit, Tells>;
  score all;
  lifecycle::reset();
  const findings right = search<abstraction<Policy, lifecycle>>();
  CHECK(right.safe());
  for (std::size_t what = 0; what < operations; ++what) {
    plan& here = lifecycle::plans[what];
    const std::size_t size = here.size();
    const auto which = static_cast<operation>(what);
    for (std::size_t at = 0; at < size; ++at) {
      lifecycle::reset();
      for (std::size_t i = at; i + 1 < plan::most; ++i) here.steps[i] = here.steps[i + 1];
      here.steps[plan::most - 1] = {};
      judge<Policy, Unit, Tells>(all, which, at, "dropped");
      lifecycle::reset();
      if (at + 1 < size) {
        std::swap(here.steps[at], here.steps[at + 1]);
        judge<Policy, Unit, Tells>(all, which, at, "swapped with the next");
        lifecycle::reset();
      }
      if (here.steps[at].backward != act::nothing) {
        here.steps[at].backward = act::nothing;
        judge<Policy, Unit, Tells>(all, which, at, "robbed of its undo");
        lifecycle::reset();
      }
    }
  }
  return all;
}
/// One mistake at a time in the functions that a container runs.
inline std::uint32_t mistake = 0;
constexpr std::uint32_t mistakes = 22;
struct mistaken : machinery {
  template <class Lifecycle>
  static cursor advance(cursor at, outcome how) noexcept {
    const bool failing = how == outcome::failed && !at.backward;
    switch (mistake) {
      case 1:
        return failing ? cursor{at.in, 0, false, ending::rolled_back}
                       : tether::advance<Lifecycle>(at, how);
      case 2: return tether::advance<Lifecycle>(at, how == outcome::stuck ? outcome::failed : how);
      case 3: return tether::advance<Lifecycle>(at, at.backward ? outcome::done : how);
      case 4:
        return failing && at.index > 0 ? tether::advance<Lifecycle>(
                                             {at.in, static_cast<std::uint8_t>(at.index - 1)}, how)
                                       : tether::advance<Lifecycle>(at, how);
      case 5:
        return failing ? tether::advance<Lifecycle>(
                             {at.in, static_cast<std::uint8_t>(at.index + 1)}, how)
                       : tether::advance<Lifecycle>(at, how);
      case 6: return tether::advance<Lifecycle>(at.backward ? cursor{at.in, 0, true} : at, how);
      case 7:
        return failing ? cursor{at.in, 0, false, ending::diverged}
                       : tether::advance<Lifecycle>(at, how);
      case 8:
        return failing ? tether::advance<Lifecycle>(at, outcome::done)
                       : tether::advance<Lifecycle>(at, how);
      default: return tether::advance<Lifecycle>(at, how);
    }
  }
  static void apply_change(container_counts& container, group_counts& group, change what,
                           consent agrees) noexcept {
    const container_counts container_was = container;
    const group_counts was = group;
    tether::apply_change(container, group, what, agrees);
    const bool attaches = what == change::attach || what == change::attach_device;
    const bool detaches = what == change::detach || what == change::detach_device;
    const bool opens = what == change::open || what == change::attach_device;
    const bool closes = what == change::close || what == change::detach_device;
    const bool gone = detaches && !group.attached;
    switch (mistake) {
      case 9: group.attached = group.attached && !attaches; break;
      case 10: container.members = attaches ? container_was.members : container.members; break;
      case 11: container.members += attaches ? 1U : 0U; break;
      case 12: container.members = detaches ? container_was.members : container.members; break;
      case 13: group.attached = group.attached || gone; break;
      case 14: group.consent_known = group.consent_known || gone; break;
      case 15: group.consent_known = opens ? was.consent_known : group.consent_known; break;
      case 16: group.consent_known = group.consent_known || opens; break;
      case 17: group.consent_known = group.consent_known && !closes; break;
      case 18: container.need_no_hold = container_was.need_no_hold; break;
      case 19:
        if (opens) std::swap(group.agreed, group.declined);
        break;
      case 20:
        if (closes) group.declined = was.declined, group.agreed = was.agreed;
        break;
      case 21: group.consent_known = group.consent_known || what == change::attach; break;
      default: break;
    }
  }
};
template <class Policy, attach_unit Unit>
std::uint32_t mistakes_found() {
  using lifecycle = plans_as_data<Unit, false>;
  using subject = abstraction<Policy, lifecycle, true, hold_kind::any, mistaken>;
  lifecycle::reset();
  std::uint32_t found = 0;
  const coverage wanted = demanded<abstraction<Policy, lifecycle_of<Unit>>>();
  for (mistake = 0; mistake < mistakes; ++mistake) {
    const findings one = search<subject, small_scope>([](progress const&) {}, 20'000);
    if (!one.safe() || !one.reached.lacks(wanted).empty()) found |= 1U << mistake;
  }
  mistake = 0;
  return found;
}

void tell(std::string const& what, score const& all) {
  CHECK(all.survivors == "");
  std::printf(
      "figures: mutants of plans as data, %s: %u, of which %u found by what they do, %u by "
      "well_formed\n",
      what.c_str(), all.mutants, all.by_behaviour, all.by_structure);
}

}  // namespace

TEST_CASE(
    "two containers, two groups each, two devices each: every policy is safe where groups are "
    "attached") {
  prove_all_policies<attach_unit::group>();
}
TEST_CASE(
    "two containers, two groups each, two devices each: every policy is safe where single devices "
    "are attached") {
  prove_all_policies<attach_unit::device>();
}
TEST_CASE("with KVM told two containers of two groups are safe") {
  prove<abstraction<inhibit_per_device, lifecycle_of<attach_unit::group, true>>, scope<2, 2, 1>>(
      "inhibit_per_device, KVM told");
  prove<abstraction<inhibit_per_group, lifecycle_of<attach_unit::device, true>>, scope<2, 2, 1>>(
      "inhibit_per_group, KVM told");
}
TEST_CASE(
    "three groups are as safe as two: in one container with three devices each, and in two "
    "containers with two") {
  prove<abstraction<inhibit_per_device, lifecycle_of<attach_unit::group>>, scope<1, 3, 3>>(
      "inhibit_per_device");
  prove<abstraction<inhibit_per_device, lifecycle_of<attach_unit::device>>, scope<1, 3, 3>>(
      "inhibit_per_device");
  prove<abstraction<inhibit_per_container, standard_lifecycle>, scope<2, 3, 2>>(
      "inhibit_per_container");
}

TEST_CASE(
    "whether a permit is one event or two makes no difference to what is found, as long as the "
    "gate drains") {
  using two_events = scope<1, 2, 2, permits::lasting>;
  for (rule = 0; rule < 64; ++rule) {
    using subject = abstraction<group_rule, standard_lifecycle>;
    constexpr broken_properties stale = bit(property::stale_mapping);
    CAPTURE(rule);
    CHECK(search<subject, small_scope>().safe() == search<subject, two_events>().safe());
    CHECK(search<subject, small_scope, stale>().safe() ==
          search<subject, two_events, stale>().safe());
  }
}

TEST_CASE(
    "of the 64 rules over a group's (consent known, declined) exactly one is right: a hold unless "
    "it "
    "needs none") {
  const census groups = count_rules<group_rule, attach_unit::group>();
  CHECK(groups.accepted == 1);
  CHECK(groups.last == 0b110'111);
  CHECK((groups.refused_for & bit(property::stale_mapping)) != 0);
  CHECK((groups.refused_for & bit(property::needless_refusal)) != 0);
  // A device that is attached by itself is always known: three of the six memberships do not arise,
  // the other three are as above.
  const census devices = count_rules<group_rule, attach_unit::device>();
  CHECK(devices.accepted == 8);
  CHECK(devices.last == 0b110'111);
}
TEST_CASE(
    "of the 64 rules over a container's (need no hold, members) exactly one is right: a hold while "
    "not all of them need none") {
  CHECK(count_rules<container_rule, attach_unit::group>().accepted == 1);
  const census devices = count_rules<container_rule, attach_unit::device>();
  CHECK(devices.accepted == 1);
  CHECK(devices.last == 0b011'010);
}

TEST_CASE(
    "each plan with one step dropped, swapped with the next or robbed of its undo is refused") {
  tell("groups", mutate_every_plan<inhibit_per_group, attach_unit::group, false>());
  tell("groups, KVM told", mutate_every_plan<inhibit_per_group, attach_unit::group, true>());
  tell("single devices", mutate_every_plan<inhibit_per_group, attach_unit::device, false>());
  tell("single devices, KVM told",
       mutate_every_plan<inhibit_per_group, attach_unit::device, true>());
}

TEST_CASE(
    "each mistake in `advance` and in `apply_change` is found, under one policy or another, and "
    "their "
    "absence is not") {
  constexpr attach_unit group = attach_unit::group;
  constexpr attach_unit device = attach_unit::device;
  const std::uint32_t groups =
      mistakes_found<inhibit_per_container, group>() | mistakes_found<inhibit_per_group, group>();
  const std::uint32_t devices =
      mistakes_found<inhibit_per_container, device>() | mistakes_found<inhibit_per_group, device>();
  for (std::uint32_t one = 1; one < mistakes; ++one) {
    CAPTURE(one);
    CHECK(((groups | devices) >> one & 1U) == 1);
  }
  CHECK(((groups | devices) & 1U) == 0);
  std::printf(
      "figures: mistakes in advance and apply_change, as variants: %u, of which %d found where "
      "groups are "
      "attached, %d where devices are\n",
      mistakes - 1, std::popcount(groups), std::popcount(devices));
}

}  // namespace exhaustive_proof_at_run_time
