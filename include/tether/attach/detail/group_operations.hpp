// SPDX-License-Identifier: BSL-1.0
// The operations of a container whose backend attaches groups (VFIO's own container, and everything
// emulated like it): a group joins as a whole, and its devices are opened afterwards.
//
//     attach(group):   raise holds -> join -> replay
//     open(device):    judge -> raise holds -> open -> lower holds
//     close(device):   close -> lower holds
//     detach(group):   withdraw -> leave -> lower holds
#pragma once

#include <tether/attach/detail/executor.hpp>
#include <tether/attach/detail/tasks.hpp>
#include <tether/attach/lifecycle/plans.hpp>
#include <tether/core/error.hpp>
#include <tether/listen/progress.hpp>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <iterator>
#include <list>
#include <mutex>
#include <string_view>
#include <system_error>
#include <utility>

namespace tether::detail {

template <class Backend, class Configuration>
class group_operations : public executor<Backend, Configuration> {
  using base = executor<Backend, Configuration>;

  template <class Monitor = unmonitored>
  using task_type = group_task<Backend, typename base::inhibition, Monitor>;
  using group_record = typename base::record;

 public:
  using base::base;

 protected:
  /// Fails: `already_there`, `diverged`, `other_gate`, what the gate, the strategy or the backend
  /// says.
  template <class Monitor>
  result<handle_ids> attach_with(typename Backend::group_type const& description, consent,
                                 Monitor* who) noexcept {
    std::lock_guard alone{this->operation_};
    const std::string_view name = description.name();
    if (auto able = this->may_attach(name); !able) return failure(able.error());
    if (std::ranges::any_of(this->groups_,
                            [&](group_record const& one) { return one.name == name; })) {
      return failure(error{"attach", errc::already_there}.of(name));
    }
    std::list<group_record> fresh;
    try {
      fresh.emplace_back(this->next_id_++, name);
    } catch (std::exception const&) {
      return failure(error::out_of_memory("attach").of(name));
    }
    task_type<Monitor> task{{.group = fresh.back(), .who = who}, &description};
    const ending end = this->run_attach(task);
    if (end == ending::rolled_back) return failure(*task.first_error);
    this->insert(this->groups_, fresh);
    if (this->groups_.front().id == task.group.id) this->name_listener(task.group.name);
    if (end == ending::diverged) return failure(this->diverge(*task.first_error));
    return handle_ids{.group = task.group.id};
  }

  result<void> detach(std::uint64_t id) noexcept {
    std::lock_guard alone{this->operation_};
    const auto group = this->find(id);
    if (group == this->groups_.end()) return failure(error{"detach", errc::stale_handle});
    if (auto able = this->may_work("detach", group->name); !able) return able;
    if (auto const* const busy = this->hide(group->devices.begin(), group->devices.end()))
        [[unlikely]]
      return failure(busy->lease_in_the_way_of("detach"));
    while (!group->devices.empty()) {
      if (auto closed = close_one(*group, group->devices.begin()); !closed) {
        this->show(group->devices.begin(), group->devices.end());
        return closed;
      }
    }
    task_type<> task{{.group = *group}};
    const ending end = this->run_detach(task, this->counts_.members == 1);
    if (auto done = this->answer(end, task); !done) return failure(done.error());
    if (this->groups_.size() == 1) this->listener_.name({});  // it follows nothing any more
    else if (group == this->groups_.begin()) this->name_listener(std::next(group)->name);
    this->erase(this->groups_, group);
    return {};
  }

  result<handle_ids> open(std::uint64_t id, std::string_view name, consent agrees) noexcept {
    std::lock_guard alone{this->operation_};
    const auto group = this->find(id);
    if (group == this->groups_.end())
      return failure(error{"open device", errc::stale_handle}.of(name));
    if (auto able = this->may_work("open device", name); !able) return failure(able.error());
    if (group->unplug_requested)
      return failure(error{"open device", errc::unplug_requested}.of(name));
    if (std::ranges::any_of(group->devices, [&](auto const& one) { return one.name == name; })) {
      return failure(error{"open device", errc::already_there}.of(name));
    }
    std::list<device_record<Backend>> fresh;
    try {
      fresh.emplace_back(this->next_id_++, name, agrees);
    } catch (std::exception const&) {
      return failure(error::out_of_memory("open device").of(name));
    }
    task_type<> task{{.group = *group, .device = &fresh.back(), .agrees = agrees}};
    const ending end = this->template run<cursor{operation::open}>(task);
    if (auto done = this->answer(end, task); !done) return failure(done.error());
    const std::uint64_t device = fresh.back().id;
    this->insert(group->devices, fresh);
    return handle_ids{id, device};
  }

  result<void> close(std::uint64_t id, std::uint64_t device_id) noexcept {
    std::lock_guard alone{this->operation_};
    const auto group = this->find(id);
    if (group == this->groups_.end()) return failure(error{"close device", errc::stale_handle});
    const auto device = std::ranges::find(group->devices, device_id, &device_record<Backend>::id);
    if (device == group->devices.end()) return failure(error{"close device", errc::stale_handle});
    if (auto able = this->may_work("close device", device->name); !able) return able;
    if (this->hide(device, std::next(device)) != nullptr) [[unlikely]]
      return failure(device->lease_in_the_way_of("close device"));
    auto closed = close_one(*group, device);
    if (!closed) this->show(device, std::next(device));
    return closed;
  }
  template <class Position>
  result<void> close_one(group_record& group, Position device) noexcept {
    task_type<> task{{.group = group, .device = &*device, .agrees = device->agrees}};
    const ending end = this->template run<cursor{operation::close}>(task);
    if (auto done = this->answer(end, task); !done) return failure(done.error());
    this->erase(group.devices, device);
    return {};
  }
};

}  // namespace tether::detail
