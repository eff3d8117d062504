// SPDX-License-Identifier: BSL-1.0
// The operations of a container whose backend attaches groups (VFIO's own container, and everything
// emulated like it): a group joins as a whole, and its devices are opened afterwards.
//
//     attach(group):   raise holds -> join -> replay
//     attach(device):  attach(group), if it is not there -> open(device)
//     open(device):    judge -> raise holds -> open -> lower holds
//     close(device):   close -> lower holds
//     detach(group):   withdraw -> leave -> lower holds
//     detach(device):  close(device) -> detach(group), if it came so and this was its last device
#pragma once

#include <tether/attach/detail/executor.hpp>
#include <tether/attach/detail/tasks.hpp>
#include <tether/attach/lifecycle/plans.hpp>
#include <tether/backend/endpoint.hpp>
#include <tether/core/detail/exceptions.hpp>
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

/// Stands where a lock is held already, by the operation that this one is a part of.
struct held_already {
  template <class Mutex>
  explicit constexpr held_already(Mutex&) noexcept {}
};

template <class Backend, class Configuration>
class group_operations : public executor<Backend, Configuration> {
  using base = executor<Backend, Configuration>;

  template <class Monitor = unmonitored>
  using task_type = group_task<Backend, typename base::inhibition, Monitor>;
  using group_record = typename base::record;
  using operation_lock = std::lock_guard<typename base::threading::mutex>;

 public:
  using base::base;

 protected:
  /// Fails: `already_there`, `diverged`, `other_gate`, what the gate, the granularity or the
  /// backend says.
  template <class Lock = operation_lock, class Monitor>
  result<handle_ids> attach_with(typename Backend::group_type const& description, consent,
                                 Monitor* who) noexcept {
    if (this->is_parents()) [[unlikely]]
      return failure(inherited("attach"));
    [[maybe_unused]] const Lock alone{this->operation_};
    const std::string_view name = description.name();
    if (auto able = this->may_attach(name); !able) return failure(able.error());
    if (std::ranges::any_of(this->groups_,
                            [&](group_record const& one) { return one.name == name; })) {
      return failure(error{"attach", errc::already_there}.of(name));
    }
    std::list<group_record> fresh;
    TETHER_TRY { fresh.emplace_back(this->next_id_++, name); }
    TETHER_CATCH(std::exception const&) { return failure(error::out_of_memory("attach").of(name)); }
    task_type<Monitor> task{{.group = fresh.back(), .who = who}, &description};
    const ending end = this->run_attach(task, task.group.name);
    if (end == ending::rolled_back) return failure(this->in_this(*task.first_error, name));
    task.group.since = now_in_seconds();
    this->insert(this->groups_, fresh, task.group);
    if (this->groups_.front().id == task.group.id) this->name_listener(task.group.name);
    if (end == ending::diverged) return failure(this->diverge(*task.first_error));
    return handle_ids{.group = task.group.id};
  }

  template <class Lock = operation_lock>
  result<void> detach(std::uint64_t id) noexcept {
    if (this->is_parents()) [[unlikely]]
      return failure(inherited("detach"));
    [[maybe_unused]] const Lock alone{this->operation_};
    const auto group = this->find(id);
    if (group == this->groups_.end()) return failure(stale("detach"));
    if (auto able = this->may_work("detach", group->name); !able) return able;
    if (auto const* const busy = this->hide(group->devices.begin(), group->devices.end()))
        [[unlikely]]
      return failure(busy->lease_in_the_way_of("detach", group->name));
    while (!group->devices.empty()) {
      if (auto closed = close_one(*group, group->devices.begin()); !closed) {
        this->show(group->devices.begin(), group->devices.end());
        return closed;
      }
    }
    task_type<> task{{.group = *group}};
    const ending end = this->run_detach(task, this->counts_.members == 1);
    if (auto done = this->answer(end, task); !done) return failure(done.error());
    if (this->groups_.size() == 1) this->call_listener({});  // it follows nothing any more
    else if (group == this->groups_.begin()) this->name_listener(std::next(group)->name);
    this->erase(this->groups_, group, *group);
    return {};
  }

  template <class Lock = operation_lock>
  result<handle_ids> open(std::uint64_t id, std::string_view name, consent agrees) noexcept {
    if (this->is_parents()) [[unlikely]]
      return failure(inherited("open device"));
    [[maybe_unused]] const Lock alone{this->operation_};
    const auto group = this->find(id);
    if (group == this->groups_.end())
      return failure(
          stale("open device").of(name).advise("its group was detached: attach that again"));
    if (auto able = this->may_work("open device", name); !able) return failure(able.error());
    if (group->unplug_requested)
      return failure(error{"open device", errc::unplug_requested}.of(name));
    if (std::ranges::any_of(group->devices, [&](auto const& one) { return one.name == name; })) {
      return failure(error{"open device", errc::already_there}.of(name));
    }
    std::list<device_record<Backend>> fresh;
    TETHER_TRY { fresh.emplace_back(this->next_id_++, name, agrees); }
    TETHER_CATCH(std::exception const&) {
      return failure(error::out_of_memory("open device").of(name));
    }
    task_type<> task{{.group = *group, .device = &fresh.back(), .agrees = agrees}};
    const ending end = this->template carry_out<operation::open>(task);
    if (auto done = this->answer(end, task); !done) return failure(done.error());
    const std::uint64_t device = task.device->id;
    task.device->since = now_in_seconds();
    this->insert(group->devices, fresh, *group);
    return handle_ids{id, device};
  }

  template <class Lock = operation_lock>
  result<void> close(std::uint64_t id, std::uint64_t device_id) noexcept {
    if (this->is_parents()) [[unlikely]]
      return failure(inherited("close device"));
    [[maybe_unused]] const Lock alone{this->operation_};
    const auto group = this->find(id);
    if (group == this->groups_.end()) return failure(stale("close device"));
    const auto device = std::ranges::find(group->devices, device_id, &device_record<Backend>::id);
    if (device == group->devices.end()) return failure(stale("close device"));
    if (auto able = this->may_work("close device", device->name); !able) return able;
    if (this->hide(device, std::next(device)) != nullptr) [[unlikely]]
      return failure(device->lease_in_the_way_of("close device"));
    return close_hidden(*group, device);
  }

  /// Attaches the group of a device, unless it is there, and opens the device: both or neither.
  /// Fails: as both.
  template <class Monitor>
  result<handle_ids> attach_with(device_in_group<typename Backend::group_type> const& what,
                                 consent agrees, Monitor* who) noexcept {
    if (this->is_parents()) [[unlikely]]
      return failure(inherited("attach"));
    const operation_lock alone{this->operation_};
    auto group = std::ranges::find(this->groups_, what.group.name(), &group_record::name);
    const bool fresh = group == this->groups_.end();
    if (fresh) {
      const auto joined = attach_with<held_already>(what.group, consent::none, who);
      if (!joined) return joined;
      group = this->find(joined->group);
      group->goes_with_last_device = true;
    }
    auto opened = open<held_already>(group->id, what.device, agrees);
    if (opened || !fresh) return opened;
    if (auto gone = detach<held_already>(group->id); !gone)
      return failure(this->diverge(opened.error()));
    return opened;
  }
  /// Closes a device, and detaches its group if that came with its first device, and this is its
  /// last. Where the device is closed and the group could not be detached, it is tried again.
  result<void> detach(std::uint64_t id, std::uint64_t device_id) noexcept {
    if (this->is_parents()) [[unlikely]]
      return failure(inherited("detach"));
    const operation_lock alone{this->operation_};
    const auto group = this->find(id);
    if (group == this->groups_.end()) return failure(stale("detach"));
    const auto device = std::ranges::find(group->devices, device_id, &device_record<Backend>::id);
    const bool found = device != group->devices.end();
    if (group->goes_with_last_device && group->devices.size() == (found ? 1U : 0U))
      return detach<held_already>(id);
    if (!found) return failure(stale("detach"));
    return close<held_already>(id, device_id);
  }

  /// A function of its own, because g++ copies what is not the only object that a function returns.
  template <class Position>
  result<void> close_hidden(group_record& group, Position device) noexcept {
    auto closed = close_one(group, device);
    if (!closed) [[unlikely]]
      this->show(device, std::next(device));
    return closed;
  }
  template <class Position>
  result<void> close_one(group_record& group, Position device) noexcept {
    task_type<> task{{.group = group, .device = &*device, .agrees = device->agrees}};
    const ending end = this->template carry_out<operation::close>(task);
    if (auto done = this->answer(end, task); !done) return failure(done.error());
    group.unplug_answered = group.unplug_requested;
    this->erase(group.devices, device, group);
    return {};
  }
};

}  // namespace tether::detail
