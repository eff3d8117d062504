// SPDX-License-Identifier: BSL-1.0
// What each act does to counts and facts, and that what a kernel must refuse is seen.
#include <tether/proof/model/acts.hpp>

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/proof/model/abstraction.hpp>

namespace tether::proof {
namespace {

using little = world<small_scope>;
using subject = abstraction<inhibit_per_group, lifecycle_of<attach_unit::group>>;
using alone = abstraction<inhibit_per_group, lifecycle_of<attach_unit::device, true>>;

constexpr little at_work(operation what, group_state group, consent agrees = consent::none,
                         device_state device = {}) {
  little here{};
  auto& container = here.containers[0];
  container.active = 0;
  container.at = cursor{what};
  container.groups[0] = group;
  container.agrees = agrees;
  container.device = device;
  return here;
}
template <class Abstraction>
constexpr broken_properties broken_by_doing(little here, act what) {
  report said{};
  acts<Abstraction, small_scope>::perform(here, 0, what, said);
  return said.broken;
}
template <class Abstraction>
constexpr little after_doing(little here, act what) {
  report said{};
  acts<Abstraction, small_scope>::perform(here, 0, what, said);
  return here;
}
constexpr broken_properties forbidden = bit(property::forbidden_call);
constexpr group_state member{.counts = {.attached = true}, .held = 1, .joined = true};

// Holds: raised to what will be needed, lowered to what is, and nothing is raised by lowering.
constexpr little attaching = at_work(operation::attach_first, {});
static_assert(acts<subject, small_scope>::raises(attaching.containers[0]));
static_assert(!acts<subject, small_scope>::lowers(attaching.containers[0]));
static_assert(after_doing<subject>(attaching, act::raise_holds).holds() == 1);
static_assert(after_doing<abstraction<inhibit_per_container, lifecycle_of<attach_unit::group>>>(
                  attaching, act::raise_holds)
                  .containers[0]
                  .held == 1);
static_assert(after_doing<subject>(after_doing<subject>(attaching, act::raise_holds),
                                   act::lower_holds)
                  .holds() == 0);
static_assert(broken_by_doing<subject>(at_work(operation::close,
                                               {.counts = {.attached = true}, .joined = true}),
                                       act::lower_holds) == bit(property::unbalanced_holds));
static_assert(after_doing<subject>(attaching, act::commit).containers[0].counts() ==
              container_counts{1, 0});

// Consent is for what pins on demand, and for memberships that the policy admits.
constexpr auto allowed = [](group_state group, consent agrees) {
  return acts<subject, small_scope>::allowed(at_work(operation::open, group, agrees).containers[0]);
};
static_assert(allowed(member, consent::none) && !allowed(member, consent::given));
constexpr group_state mediated{.counts = {.declined = 1, .attached = true},
                               .held = 1,
                               .declining = 1,
                               .joined = true,
                               .mediated = true};
static_assert(allowed(mediated, consent::none) && !allowed(mediated, consent::given));
// The verdict is `judge`'s, of the counts that the code under proof leads to.
constexpr auto opens = [](auto subject_type, consent agrees) {
  using asked = acts<decltype(subject_type), small_scope>;
  const auto container = at_work(operation::open, mediated, agrees).containers[0];
  return asked::allowed(container) ==
         (judge<inhibit_per_group>(asked::after(container).group, agrees, asked::pins(container)) ==
          verdict::allowed);
};
static_assert(opens(subject{}, consent::none) && opens(subject{}, consent::given));
struct never_counts : machinery {
  static constexpr void apply_change(container_counts&, group_counts&, change, consent) noexcept {}
};
using uncounted = abstraction<inhibit_per_group, lifecycle_of<attach_unit::group>, true,
                              hold_kind::any, never_counts>;
static_assert(acts<uncounted, small_scope>::allowed(
    at_work(operation::open, mediated, consent::given).containers[0]));

// Groups: what a kernel must refuse.
static_assert(broken_by_doing<subject>(attaching, act::join) == 0);
static_assert(broken_by_doing<subject>(at_work(operation::attach_next, member), act::join) ==
              forbidden);
static_assert(broken_by_doing<subject>(attaching, act::leave) == forbidden);
static_assert(broken_by_doing<subject>(attaching, act::replay) == forbidden);
static_assert(broken_by_doing<subject>(attaching, act::open) == forbidden &&
              broken_by_doing<subject>(attaching, act::close) == forbidden);
static_assert(broken_by_doing<subject>(at_work(operation::detach_last, mediated), act::leave) ==
              forbidden);
static_assert(broken_by_doing<subject>(at_work(operation::detach_last, member), act::withdraw) ==
              forbidden);
static_assert(broken_by_doing<subject>(attaching, act::add_to_kvm) == forbidden);
static_assert(broken_by_doing<subject>(attaching, act::release) == forbidden);
static_assert(broken_by_doing<subject>(at_work(operation::detach_last,
                                               {.joined = true, .acquired = true}),
                                       act::release) == forbidden);

// Single devices.
constexpr auto device = [](device_state has) {
  return at_work(operation::attach_first, {}, consent::none, has);
};
static_assert(broken_by_doing<alone>(device({}), act::open) == 0 &&
              broken_by_doing<alone>(device({.open = true}), act::open) == forbidden);
static_assert(broken_by_doing<alone>(device({}), act::bind) == forbidden &&
              broken_by_doing<alone>(device({}), act::add_to_kvm) == forbidden);
static_assert(broken_by_doing<alone>(device({.open = true}), act::join) == forbidden);
static_assert(broken_by_doing<alone>(device({.open = true, .bound = true}), act::join) == 0);
static_assert(broken_by_doing<alone>(device({.open = true, .bound = true, .joined = true}),
                                     act::close) == forbidden);
static_assert(
    after_doing<alone>(device({.open = true, .bound = true}), act::close).containers[0].device ==
    device_state{});

// Joining pins, and so does mapping once something has joined.
static_assert(after_doing<subject>(after_doing<subject>(attaching, act::join), act::replay)
                  .containers[0]
                  .page == page_relation::pinned_same);
static_assert(acts<subject, small_scope>::worst_when_stuck(act::join) &&
              !acts<subject, small_scope>::worst_when_stuck(act::leave));

}  // namespace
}  // namespace tether::proof
