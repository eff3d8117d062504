// SPDX-License-Identifier: BSL-1.0
// The operations of a container whose backend attaches groups (VFIO's own container, and everything
// emulated like it): a group joins as a whole, and its devices are opened afterwards.
//
//     attach(group):   hold -> join -> replay          detach:   withdraw -> leave -> settle
//     open(device):    judge -> hold -> open -> settle           close: close -> settle
#pragma once

#include <tether/attach/detail/executor.hpp>
#include <tether/attach/detail/tasks.hpp>
#include <tether/attach/handles.hpp>
#include <tether/attach/lifecycle/plans.hpp>
#include <tether/core/error.hpp>
#include <tether/listen/progress.hpp>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <list>
#include <mutex>
#include <string_view>
#include <system_error>
#include <utility>

namespace tether::detail {

template <class Backend, class Configuration>
class group_operations : public acts<Backend, Configuration> {
  using base = acts<Backend, Configuration>;

 public:
  using group_type = typename Backend::group_type;
  using device_type = typename Backend::device_type;
  using attached = basic_attached_group<group_operations>;
  using opened = basic_opened_device<group_operations>;
  using base::base;

  /// Attaches a group: inhibits discards, joins, maps. All or nothing (law 11).
  /// Fails: `already_there`, `diverged`, `other_gate` (a guest has one gate),
  /// what the gate, the strategy or the backend says, naming extent and cause.
  /// Cost: pins the guest's memory, unless another group has already.
  [[nodiscard]] result<attached> attach(group_type const& group) noexcept {
    return attach_with(group, static_cast<unmonitored*>(nullptr));
  }
  /// The same, with a progress monitor: called before each piece, it can cancel the attach
  /// (law 27).
  template <progress_monitor Monitor>
  [[nodiscard]] result<attached> attach(group_type const& group, Monitor& who) noexcept {
    return attach_with(group, &who);
  }

 protected:
  friend attached;
  friend opened;
  using group_record = typename base::record;

  template <class Monitor>
  result<attached> attach_with(group_type const& description, Monitor* who) noexcept {
    std::lock_guard alone{this->operation_};
    const std::string_view name = description.name();
    if (auto able = this->may_work("attach", name); !able) return failure(able.error());
    if (!this->guarded_.usable()) [[unlikely]] return failure(this->guarded_.usable().error().of(name));
    if (std::ranges::any_of(this->groups_, [&](group_record const& one) { return one.name == name; })) {
      return failure(error{"attach", errc::already_there}.of(name));
    }
    std::list<group_record> fresh;
    try {
      fresh.emplace_back(this->next_id_++, name);
    } catch (std::exception const&) {
      return failure(error{"attach", std::make_error_code(std::errc::not_enough_memory)}.of(name));
    }
    group_task<Backend, typename base::inhibition, Monitor> task{fresh.back(), description, who};
    const ending end = this->counts_.members == 0 ? this->template run<cursor{operation::attach_first}>(task)
                                                 : this->template run<cursor{operation::attach_next}>(task);
    if (end == ending::rolled_back) return failure(*task.first_error);
    this->groups_.splice(this->groups_.end(), fresh);
    if (end == ending::diverged) return failure(this->diverge(*task.first_error));
    return attached{*this, task.group.id};
  }

  result<void> detach(std::uint64_t id) noexcept {
    std::lock_guard alone{this->operation_};
    const auto group = this->find(id);
    if (group == this->groups_.end()) return failure(error{"detach", errc::stale_handle});
    if (auto able = this->may_work("detach", group->name); !able) return able;
    if (auto const* const busy = group->leased()) [[unlikely]] return failure(busy->lease_in_the_way_of("detach"));
    while (!group->devices.empty()) {
      if (auto closed = close_one(*group, group->devices.begin()); !closed) return closed;
    }
    group_task<Backend, typename base::inhibition> task{*group};
    const ending end = this->counts_.members == 1 ? this->template run<cursor{operation::detach_last}>(task)
                                                 : this->template run<cursor{operation::detach_next}>(task);
    if (end == ending::diverged) return failure(this->diverge(*task.first_error));
    if (end == ending::rolled_back) return failure(*task.first_error);
    this->groups_.erase(group);
    return {};
  }

  result<opened> open(std::uint64_t id, std::string_view name, consent agrees) noexcept {
    std::lock_guard alone{this->operation_};
    const auto group = this->find(id);
    if (group == this->groups_.end()) return failure(error{"open device", errc::stale_handle}.of(name));
    if (auto able = this->may_work("open device", name); !able) return failure(able.error());
    if (group->unplug_requested) return failure(error{"open device", errc::unplug_requested}.of(name));
    if (std::ranges::any_of(group->devices, [&](auto const& one) { return one.name == name; })) {
      return failure(error{"open device", errc::already_there}.of(name));
    }
    std::list<device_record<Backend>> fresh;
    try {
      fresh.emplace_back(this->next_id_++, name, agrees);
    } catch (std::exception const&) {
      return failure(error{"open device", std::make_error_code(std::errc::not_enough_memory)}.of(name));
    }
    group_task<Backend, typename base::inhibition> task{*group, &fresh.back(), agrees};
    const ending end = this->template run<cursor{operation::open}>(task);
    if (end == ending::diverged) return failure(this->diverge(*task.first_error));
    if (end == ending::rolled_back) return failure(*task.first_error);
    const std::uint64_t device = fresh.back().id;
    group->devices.splice(group->devices.end(), fresh);
    return opened{*this, id, device};
  }

  result<void> close(std::uint64_t id, std::uint64_t device_id) noexcept {
    std::lock_guard alone{this->operation_};
    const auto group = this->find(id);
    if (group == this->groups_.end()) return failure(error{"close device", errc::stale_handle});
    const auto device = std::ranges::find(group->devices, device_id, &device_record<Backend>::id);
    if (device == group->devices.end()) return failure(error{"close device", errc::stale_handle});
    if (auto able = this->may_work("close device", device->name); !able) return able;
    if (device->leases.out() != 0) [[unlikely]] return failure(device->lease_in_the_way_of("close device"));
    return close_one(*group, device);
  }
  template <class Position>
  [[gnu::always_inline]] result<void> close_one(group_record& group, Position device) noexcept {
    group_task<Backend, typename base::inhibition> task{group, &*device, device->agrees};
    const ending end = this->template run<cursor{operation::close}>(task);
    if (end == ending::diverged) return failure(this->diverge(*task.first_error));
    if (end == ending::rolled_back) return failure(*task.first_error);
    group.devices.erase(device);
    return {};
  }
};

}  // namespace tether::detail
