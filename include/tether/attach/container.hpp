// SPDX-License-Identifier: BSL-1.0
// The composition root: one I/O address space, kept in step with the guest's memory map, with the balloon held
// down exactly while its policy says so. Backend, inhibition and granularity meet here and nowhere else.
//
//     attach(group):   hold -> join -> replay          detach:   withdraw -> leave -> settle
//     open(device):    judge -> hold -> open -> settle           close: close -> settle
#pragma once

#include <tether/attach/acts.hpp>
#include <tether/attach/configuration.hpp>
#include <tether/attach/handles.hpp>
#include <tether/attach/lifecycle.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/listen/attendant.hpp>
#include <tether/topology/address_space.hpp>

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <exception>
#include <list>
#include <mutex>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace tether {

/// A container. The backend comes first, then policies in any order, each slot at most once.
/// Requires: `space` and `gate` outlive it. Thread-safe as far as its gate is; one lifecycle operation runs at a time, the
/// others wait. It may wait for discards (a hold) and for seconds (pinning): call it with no permit and no lock that a discard wants.
template <class Backend, class... Policies>
class container : private detail::acts<Backend, configuration<Backend, Policies...>> {
  using base = detail::acts<Backend, configuration<Backend, Policies...>>;
  using group_record = typename base::record;
  using inhibition = typename base::inhibition;

 public:
  using backend_type = Backend;
  using policies = configuration<Backend, Policies...>;
  using group_type = typename Backend::group_type;
  using device_type = typename Backend::device_type;
  using attached = attached_group<container>;
  using opened = opened_device<container>;

  template <class Threading>
  container(address_space& space, discard_gate<Threading>& gate, Backend backend) : base{space, own_gate(gate), std::move(backend)} {}
  template <class Threading>
    requires std::default_initializable<Backend>
  container(address_space& space, discard_gate<Threading>& gate) : container{space, gate, Backend{}} {}
  container(container const&) = delete;
  container& operator=(container const&) = delete;
  /// Detaches everything. Where that fails, memory and holds that a device may still reach are kept for ever.
  ~container() {
    while (!this->groups_.empty() && !diverged()) {
      if (auto gone = detach(this->groups_.back().id); !gone) static_cast<void>(diverge(gone.error()));
    }
    if (diverged() && !abandon()) keep_for_ever();
  }

  /// Takes a group in: holds the balloon down, joins, maps. All or nothing (law 11).
  /// Fails: `already_there`, `diverged`, what the gate, the strategy or the backend says, naming extent and cause.
  /// Cost: pins the guest's memory, unless another group has already.
  [[nodiscard]] result<attached> attach(group_type const& group) noexcept {
    return attach_with(group, static_cast<unattended*>(nullptr));
  }
  /// The same, watched by `who`: asked before each piece, and cancelled by it (law 27).
  template <attendant Attendant>
  [[nodiscard]] result<attached> attach(group_type const& group, Attendant& who) noexcept {
    return attach_with(group, &who);
  }

  /// Lets go of the kernel object itself, after an undo has failed. Fails, keeping every hold: what still stands in the
  /// way; call it again when that is gone. Ensures on success: nothing is attached, mapped or held, and it can be used anew.
  result<void> abandon() noexcept {
    std::lock_guard operation{this->operation_};
    for (group_record& group : this->groups_) close_devices_regardless(group);
    static_cast<void>(this->space_.remove_listener(this->listener_));
    {
      std::lock_guard turn{this->mutex_};
      if (auto gone = this->backend_.abandon(); !gone) {
        this->listener_.diverge(gone.error());
        return gone;
      }
      this->listener_.forget();
    }
    this->tally_ = {};
    for (group_record& group : this->groups_) {
      group.tally = {};
      this->settle(group);
    }
    this->groups_.clear();
    return {};
  }

  /// An undo failed: tether and the kernel may disagree, so everything but `abandon` is refused and holds stay (law 6).
  [[nodiscard]] bool diverged() const noexcept {
    std::lock_guard turn{this->mutex_};
    return this->listener_.diverged();
  }
  [[nodiscard]] mapped_usage usage() const noexcept {
    std::lock_guard turn{this->mutex_};
    return this->listener_.usage();
  }
  /// Bytes at ragged edges of sections that devices do not see.
  [[nodiscard]] std::uint64_t trimmed_bytes() const noexcept {
    std::lock_guard turn{this->mutex_};
    return this->listener_.trimmed_bytes();
  }
  /// Sections that devices do not see although they are memory, and why. Fails: may throw `std::bad_alloc`.
  [[nodiscard]] std::vector<left_out_section> left_out() const {
    std::lock_guard turn{this->mutex_};
    return this->listener_.left_out();
  }
  /// Where guest memory may lie. May be asked before any is placed; changes with every attach and detach.
  [[nodiscard]] std::vector<extent<io_address>> usable_iova() const {
    std::lock_guard turn{this->mutex_};
    const auto ranges = this->backend_.usable_iova();
    return {ranges.begin(), ranges.end()};
  }
  [[nodiscard]] container_tally books() const noexcept {
    std::lock_guard operation{this->operation_};
    return this->tally_;
  }
  /// The backend, for what it alone can tell. Do not map or join through it.
  [[nodiscard]] Backend& backend() noexcept { return this->backend_; }
  [[nodiscard]] auto& observer() noexcept { return this->listener_.observer(); }

 private:
  friend attached;
  friend opened;

  template <class Threading>
  static auto& own_gate(discard_gate<Threading>& gate) noexcept {
    static_assert(std::is_same_v<Threading, typename base::threading>,
                  "tether[T1]: this container and its gate were built for different threading: give the container the gate's "
                  "(container<Backend, ..., single_threaded>, say)");
    if constexpr (std::is_same_v<Threading, typename base::threading>) return gate;
    else return reinterpret_cast<typename base::gate_type&>(gate);  // never reached: refused above
  }

  template <class Attendant>
  result<attached> attach_with(group_type const& description, Attendant* who) noexcept {
    std::lock_guard operation{this->operation_};
    const std::string_view name = description.name();
    if (auto able = may_work("attach", name); !able) return failure(able.error());
    if (std::ranges::any_of(this->groups_, [&](group_record const& one) { return one.name == name; })) {
      return failure(error{"attach", errc::already_there}.of(name));
    }
    std::list<group_record> fresh;
    try {
      fresh.emplace_back(this->next_id_++, name);
    } catch (std::exception const&) {
      return failure(error{"attach", std::make_error_code(std::errc::not_enough_memory)}.of(name));
    }
    detail::task<Backend, inhibition, Attendant> task{.group = fresh.back(), .description = &description, .who = who};
    const ending end = this->tally_.members == 0 ? this->template run<cursor{lifecycle_operation::attach_first}>(task)
                                                 : this->template run<cursor{lifecycle_operation::attach_next}>(task);
    if (end == ending::rolled_back) return failure(*task.first_error);
    this->groups_.splice(this->groups_.end(), fresh);
    if (end == ending::diverged) return failure(diverge(*task.first_error));
    return attached{*this, task.group.id};
  }

  result<void> detach(std::uint64_t id) noexcept {
    std::lock_guard operation{this->operation_};
    const auto group = find(id);
    if (group == this->groups_.end()) return failure(error{"detach", errc::stale_handle});
    if (auto able = may_work("detach", group->name); !able) return able;
    while (!group->devices.empty()) {
      if (auto closed = close_one(*group, group->devices.begin()); !closed) return closed;
    }
    detail::task<Backend, inhibition> task{.group = *group};
    const ending end = this->tally_.members == 1 ? this->template run<cursor{lifecycle_operation::detach_last}>(task)
                                                 : this->template run<cursor{lifecycle_operation::detach_next}>(task);
    if (end == ending::diverged) return failure(diverge(*task.first_error));
    if (end == ending::rolled_back) return failure(*task.first_error);
    this->groups_.erase(group);
    return {};
  }

  result<opened> open(std::uint64_t id, std::string_view name, consent agrees) noexcept {
    std::lock_guard operation{this->operation_};
    const auto group = find(id);
    if (group == this->groups_.end()) return failure(error{"open device", errc::stale_handle}.of(name));
    if (auto able = may_work("open device", name); !able) return failure(able.error());
    if (group->unplug_requested) return failure(error{"open device", errc::unplug_requested}.of(name));
    if (std::ranges::any_of(group->devices, [&](auto const& one) { return one.name == name; })) {
      return failure(error{"open device", errc::already_there}.of(name));
    }
    std::list<detail::device_record<Backend>> fresh;
    try {
      fresh.emplace_back(this->next_id_++, name, agrees);
    } catch (std::exception const&) {
      return failure(error{"open device", std::make_error_code(std::errc::not_enough_memory)}.of(name));
    }
    detail::task<Backend, inhibition> task{.group = *group, .device = &fresh.back(), .agrees = agrees};
    const ending end = this->template run<cursor{lifecycle_operation::open}>(task);
    if (end == ending::diverged) return failure(diverge(*task.first_error));
    if (end == ending::rolled_back) return failure(*task.first_error);
    const std::uint64_t device = fresh.back().id;
    group->devices.splice(group->devices.end(), fresh);
    return opened{*this, id, device};
  }

  result<void> close(std::uint64_t id, std::uint64_t device_id) noexcept {
    std::lock_guard operation{this->operation_};
    const auto group = find(id);
    if (group == this->groups_.end()) return failure(error{"close device", errc::stale_handle});
    const auto device = std::ranges::find(group->devices, device_id, &detail::device_record<Backend>::id);
    if (device == group->devices.end()) return failure(error{"close device", errc::stale_handle});
    if (auto able = may_work("close device", device->name); !able) return able;
    return close_one(*group, device);
  }
  template <class Position>
  [[gnu::always_inline]] result<void> close_one(group_record& group, Position device) noexcept {
    detail::task<Backend, inhibition> task{.group = group, .device = &*device, .agrees = device->agrees};
    const ending end = this->template run<cursor{lifecycle_operation::close}>(task);
    if (end == ending::diverged) return failure(diverge(*task.first_error));
    if (end == ending::rolled_back) return failure(*task.first_error);
    group.devices.erase(device);
    return {};
  }

  result<void> request_unplug(std::uint64_t id) noexcept {
    std::lock_guard operation{this->operation_};
    const auto group = find(id);
    if (group == this->groups_.end()) return failure(error{"request unplug", errc::stale_handle});
    group->unplug_requested = true;
    return {};
  }
  device_type* find_device(std::uint64_t id, std::uint64_t device_id) noexcept {
    std::lock_guard operation{this->operation_};
    const auto group = find(id);
    if (group == this->groups_.end()) return nullptr;
    const auto device = std::ranges::find(group->devices, device_id, &detail::device_record<Backend>::id);
    return device == group->devices.end() ? nullptr : &*device->device;
  }
  auto find(std::uint64_t id) noexcept { return std::ranges::find(this->groups_, id, &group_record::id); }

  [[gnu::always_inline]] result<void> may_work(const char* what, std::string_view name) const noexcept {
    if (!diverged()) [[likely]] return {};
    return failure(error{what, errc::diverged}.of(name).advise("call abandon()"));
  }
  error diverge(error const& why) noexcept {
    std::lock_guard turn{this->mutex_};
    if (!this->listener_.diverged()) this->listener_.diverge(why);
    return why.leaving_things_behind();
  }
  void close_devices_regardless(group_record& group) noexcept {
    std::lock_guard turn{this->mutex_};
    std::erase_if(group.devices, [&](auto& one) { return !one.device || this->backend_.close(*one.device).has_value(); });
  }
  void keep_for_ever() noexcept {
    this->listener_.keep_memory_for_ever();
    if constexpr (holds_for_a_container<inhibition>) this->gate_.keep_for_ever(this->held_, policies::holds);
    if constexpr (holds_for_a_group<inhibition>) {
      for (group_record& group : this->groups_) this->gate_.keep_for_ever(group.held, policies::holds);
    }
  }
};

}  // namespace tether
