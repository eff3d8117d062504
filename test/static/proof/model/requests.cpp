// SPDX-License-Identifier: BSL-1.0
// What a caller may request of a container at rest: all of it, in order, and nothing else.
#include <tether/proof/model/requests.hpp>

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/proof/model/abstraction.hpp>

#include <array>
#include <cstddef>

namespace tether::proof {
namespace {

using of_groups = abstraction<inhibit_per_group, lifecycle_of<attach_unit::group>>;
using of_devices = abstraction<inhibit_per_group, lifecycle_of<attach_unit::device>>;
using without_pins = abstraction<no_inhibition, lifecycle_of<attach_unit::group>, false>;
using container = container_state<small_scope>;

template <class Abstraction, std::size_t Size>
constexpr bool asks_for(container const& from, std::array<request, Size> const& expected) {
  std::size_t seen = 0;
  bool same = true;
  const bool all = requests<Abstraction, small_scope>::for_each(from, [&](request const& next) {
    same = same && seen < Size && next == expected[seen];
    ++seen;
    return true;
  });
  return all && same && seen == Size;
}

constexpr consent no = consent::none;
constexpr consent yes = consent::given;

// At first both kinds of group, once: the second group is symmetric to the first.
constexpr request first_attach{operation::attach_first, change::attach, 0, no, false};
constexpr request first_attach_mediated{operation::attach_first, change::attach, 0, no, true};
static_assert(asks_for<of_groups>({}, std::array{first_attach, first_attach_mediated}));
static_assert(asks_for<without_pins>({}, std::array{first_attach_mediated}));

// An attached group: detached only while no device of it is open, and devices up to the scope.
constexpr container attached = [] {
  container here{};
  here.groups[0] = {.counts = {.attached = true}, .held = 1, .joined = true, .mediated = true};
  return here;
}();
constexpr request next_attach{operation::attach_next, change::attach, 1, no, false};
constexpr request next_attach_mediated{operation::attach_next, change::attach, 1, no, true};
static_assert(asks_for<of_groups>(attached,
                                  std::array{
                                      request{operation::detach_last, change::detach, 0, no, true},
                                      request{operation::open, change::open, 0, no, true},
                                      request{operation::open, change::open, 0, yes, true},
                                      next_attach, next_attach_mediated}));
constexpr container opened = [] {
  container here = attached;
  here.groups[0].counts.agreed = 2;
  here.groups[0].consenting = 2;
  here.groups[1] = {.counts = {.attached = true}, .held = 1, .joined = true};
  return here;
}();
static_assert(asks_for<of_groups>(opened,
                                  std::array{
                                      request{operation::close, change::close, 0, yes, true},
                                      request{operation::detach_next, change::detach, 1, no, false},
                                      request{operation::open, change::open, 1, no, false},
                                      request{operation::open, change::open, 1, yes, false}}));

// Single devices: which kind of group it is was decided by the first of them, and the last device
// of the last group detaches it.
constexpr container alone = [] {
  container here{};
  here.groups[0] = {.counts = {.declined = 1, .attached = true, .consent_known = true},
                    .held = 1,
                    .declining = 1};
  return here;
}();
constexpr request attach_device(std::size_t group, consent agrees, bool mediated) {
  return {operation::attach_next, change::attach_device, group, agrees, mediated};
}
static_assert(asks_for<of_devices>(
    alone, std::array{attach_device(0, no, false),
                      request{operation::detach_last, change::detach_device, 0, no, false},
                      attach_device(0, yes, false), attach_device(1, no, false),
                      attach_device(1, no, true), attach_device(1, yes, false),
                      attach_device(1, yes, true)}));

// A visit that returns false ends it.
constexpr std::size_t visits_until_the_first() {
  std::size_t visits = 0;
  const bool all = requests<of_groups, small_scope>::for_each(container{}, [&](request const&) {
    ++visits;
    return false;
  });
  return all ? 0 : visits;
}
static_assert(visits_until_the_first() == 1);

}  // namespace
}  // namespace tether::proof
