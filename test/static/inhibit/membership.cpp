// SPDX-License-Identifier: BSL-1.0
// How membership changes: every change from every state that a group can be in, held against a
// count by hand.
#include <tether/inhibit/membership.hpp>

#include <cstdint>

namespace tether {
namespace {

struct both {
  container_counts container{};
  group_counts group{};
  friend constexpr bool operator==(both const&, both const&) = default;
  [[nodiscard]] constexpr both after(change what, consent agrees = consent::none) const {
    both next = *this;
    apply_change(next.container, next.group, what, agrees);
    return next;
  }
};

constexpr both attached = both{}.after(change::attach);
static_assert(attached == both{{1, 0}, {0, 0, true, false}});
static_assert(!attached.group.needs_no_hold());
static_assert(attached.after(change::none) == attached);
static_assert(attached.after(change::detach) == both{});

// Nobody knows what the IOMMU pins until a device agrees; from then on it is known until the group
// detaches.
constexpr both agreed = attached.after(change::open, agrees_to_discards);
static_assert(agreed == both{{1, 1}, {1, 0, true, true}});
static_assert(agreed.group.needs_no_hold() && agreed.group.open() == 1);
static_assert(agreed.after(change::close, agrees_to_discards) == both{{1, 1}, {0, 0, true, true}});
static_assert(agreed.after(change::close, agrees_to_discards).after(change::detach) == both{});

// A device that did not agree makes the group need a hold, and its close ends that again: closing
// never needs a hold.
constexpr both mixed = agreed.after(change::open);
static_assert(mixed == both{{1, 0}, {1, 1, true, true}});
static_assert(mixed.after(change::close) == agreed);
static_assert(attached.after(change::open) == both{{1, 0}, {0, 1, true, false}});
static_assert(attached.after(change::open).after(change::close) == attached);

// Across groups: `need_no_hold` counts exactly those that need none, whatever the order.
constexpr bool counts_groups_without_need() {
  container_counts container{};
  group_counts groups[3]{};
  std::uint32_t state = 12345;
  for (int i = 0; i < 2000; ++i) {
    state = state * 1664525U + 1013904223U;
    group_counts& group = groups[(state >> 8) % 3];
    const consent agrees = ((state >> 16) & 1) != 0 ? consent::given : consent::none;
    const auto what = static_cast<change>(1 + (state >> 20) % 4);
    const bool possible = what == change::attach   ? !group.attached
                          : what == change::detach ? group.attached && group.open() == 0
                          : what == change::open
                              ? group.attached
                              : (agrees == consent::given ? group.agreed : group.declined) != 0;
    if (!possible) continue;
    apply_change(container, group, what, agrees);
    std::uint32_t members = 0;
    std::uint32_t need_no_hold = 0;
    for (group_counts const& one : groups) {
      members += one.attached ? 1U : 0U;
      need_no_hold += one.consent_known && one.declined == 0 ? 1U : 0U;
    }
    if (container != container_counts{members, need_no_hold}) return false;
  }
  return true;
}
static_assert(counts_groups_without_need());

// Ahead of a change: the counts that it leads to, from a copy.
constexpr membership before{mixed.container, mixed.group};
constexpr membership closed = after_change(before, change::close, consent::none);
static_assert(closed.container == agreed.container && closed.group == agreed.group);
static_assert(before.container == mixed.container && before.group == mixed.group);

}  // namespace
}  // namespace tether
