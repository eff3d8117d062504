// SPDX-License-Identifier: BSL-1.0
// The effect of each act of a plan on the state: on the code's own counts by the functions that
// `attach/detail/executor.hpp` calls, too, on the facts as in a kernel. An act that a kernel must
// refuse is a broken property, not an outcome.
#pragma once

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/attach/lifecycle/steps.hpp>
#include <tether/core/attachment.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/proof/model/abstraction.hpp>
#include <tether/proof/model/kernel.hpp>
#include <tether/proof/model/property.hpp>
#include <tether/proof/model/ranks.hpp>
#include <tether/proof/model/state.hpp>
#include <tether/proof/search/coverage.hpp>

#include <cstddef>
#include <cstdint>

namespace tether::proof {

/// What an event did besides changing the state.
struct report {
  coverage reached{};            ///< the act and the operation that it saw end
  broken_properties broken = 0;  ///< the properties that it broke
};

/// The acts of one container.
template <class Abstraction, class Scope>
class acts {
  using policy = typename Abstraction::inhibition_type;
  using needs = ranked<policy, Scope>;
  using code = typename Abstraction::code;
  using container_type = container_state<Scope>;
  static constexpr bool of_groups = Abstraction::unit == attach_unit::group;

 public:
  /// The container's next act.
  [[nodiscard]] static constexpr act next(container_type const& container) noexcept {
    return Abstraction::plan_table::act_at(container.at);
  }
  [[nodiscard]] static constexpr change makes(container_type const& container) noexcept {
    return Abstraction::plan_table::makes(container.at.in);
  }

  /// The counts as they will be once the operation has committed: `tether::after_change`, by the
  /// `apply_change` of the code under proof.
  [[nodiscard]] static constexpr membership after(container_type const& container) noexcept {
    membership counts{container.counts(), container.groups[container.active].counts};
    code::apply_change(counts.container, counts.group, makes(container), container.agrees);
    return counts;
  }
  /// How the device of the operation pins, as a backend classifies it.
  [[nodiscard]] static constexpr pin_class pins(container_type const& container) noexcept {
    const bool for_good = Abstraction::pins && !container.groups[container.active].mediated;
    return for_good ? pin_class::pins : pin_class::pins_on_demand;
  }
  /// Whether the act `judge` succeeds.
  [[nodiscard]] static constexpr bool allowed(container_type const& container) noexcept {
    return judge<policy>(after(container).group, container.agrees, pins(container)) ==
           verdict::allowed;
  }
  /// Whether the act `raise_holds` has holds to take from the gate.
  [[nodiscard]] static constexpr bool raises(container_type const& container) noexcept {
    const membership counts = after(container);
    return needs::holds(counts.group) > container.groups[container.active].held ||
           needs::holds(counts.container) > container.held;
  }
  /// Whether the act `lower_holds` has holds to release.
  [[nodiscard]] static constexpr bool lowers(container_type const& container) noexcept {
    group_state const& group = container.groups[container.active];
    return needs::holds(group.counts) != group.held ||
           own_holds_needed(container) != container.held;
  }

  /// Applies the act. Of one that got stuck half way the worse case is assumed
  /// (`worst_when_stuck`).
  static constexpr void perform(world<Scope>& here, std::size_t which, act what,
                                report& said) noexcept {
    container_type& container = here.containers[which];
    group_state& group = container.groups[container.active];
    device_state& device = container.device;
    bool legal = true;
    switch (what) {
      case act::nothing:
      case act::judge: break;
      case act::raise_holds: {
        const membership counts = after(container);
        raise(group.held, needs::holds(counts.group));
        raise(container.held, needs::holds(counts.container));
        break;
      }
      case act::lower_holds:
        lower(group.held, needs::holds(group.counts), said);
        lower(container.held, own_holds_needed(container), said);
        break;
      case act::commit: commit(container, group, said); break;
      case act::populate:
        if (container.page != page_relation::none) populate(here);
        break;
      case act::acquire: legal = set(group.acquired); break;
      case act::release: legal = clear(group.acquired) && !group.joined && !group.in_kvm; break;
      case act::add_to_kvm:
        legal = of_groups ? set(group.in_kvm) && group.acquired : set(device.in_kvm) && device.open;
        break;
      case act::remove_from_kvm:
        legal =
            of_groups ? clear(group.in_kvm) && group.acquired : clear(device.in_kvm) && device.open;
        break;
      case act::join:
        legal = of_groups ? set(group.joined) : set(device.joined) && device.bound;
        break;
      case act::leave:
        legal = of_groups
                    ? clear(group.joined) && !device.open && group.declining + group.consenting == 0
                    : clear(device.joined);
        break;
      case act::open: legal = set(device.open) && (!of_groups || group.joined); break;
      case act::bind: legal = set(device.bound) && device.open; break;
      case act::close:
        legal = clear(device.open) && !device.joined;
        device.bound = device.joined = false;
        break;
      case act::replay:
        legal = container.page == page_relation::none && reaches<Abstraction::unit>(container);
        if (legal) {
          populate(here);  // before it is mapped
          container.page = page_relation::recorded;
        }
        break;
      case act::withdraw:
        legal = container.page != page_relation::none && reaches<Abstraction::unit>(container);
        container.page = page_relation::none;
        break;
    }
    if (what == act::withdraw) clear_absent_if_unmapped(here);
    if (!legal) said.broken |= bit(property::forbidden_call);
    if (changes_pins(what)) pin<Abstraction>(here, which);
  }

  /// Whether an act that got stuck is modelled as done: the case in which a device can reach more
  /// is assumed.
  [[nodiscard]] static constexpr bool worst_when_stuck(act what) noexcept {
    return what != act::leave && what != act::withdraw && what != act::close &&
           what != act::remove_from_kvm;
  }

 private:
  /// The holds that the container itself needs; its counts are summed only for a policy that reads
  /// them.
  [[nodiscard]] static constexpr std::uint32_t own_holds_needed(
      [[maybe_unused]] container_type const& container) noexcept {
    if constexpr (holds_for_a_container<policy>) return needs::holds(container.counts());
    else return 0;
  }
  /// Whether a kernel can pin or unpin at an act.
  [[nodiscard]] static constexpr bool changes_pins(act what) noexcept {
    return what >= act::join && what <= act::close;
  }
  static_assert(act::join < act::leave && act::leave < act::replay && act::replay < act::withdraw &&
                act::withdraw < act::open && act::open < act::bind && act::bind < act::close);

  [[nodiscard]] static constexpr bool set(bool& fact) noexcept {
    const bool was = fact;
    fact = true;
    return !was;
  }
  [[nodiscard]] static constexpr bool clear(bool& fact) noexcept {
    const bool was = fact;
    fact = false;
    return was;
  }
  static constexpr void raise(std::uint32_t& held, std::uint32_t needed) noexcept {
    if (held < needed) held = needed;
  }
  /// Releases holds, which must not fail: a hold missing here would have to be taken, which the
  /// gate can refuse, so it is a broken property.
  static constexpr void lower(std::uint32_t& held, std::uint32_t needed, report& said) noexcept {
    if (held < needed) said.broken |= bit(property::unbalanced_holds);
    else held = needed;
  }
  static constexpr void commit(container_type& container, group_state& group,
                               report& said) noexcept {
    container_counts counts = container.counts();
    code::apply_change(counts, group.counts, makes(container), container.agrees);
    if (counts != container.counts()) said.broken |= bit(property::wrong_counts);
  }
};

}  // namespace tether::proof
