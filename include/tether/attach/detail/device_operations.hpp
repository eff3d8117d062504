// SPDX-License-Identifier: BSL-1.0
// The operations of a container whose backend attaches devices one by one (iommufd): a device's
// consent to discards is known, and it is opened, before it can reach any memory, so no hold is
// taken provisionally (law 9).
//
//     attach(device):  judge -> open -> bind -> raise holds -> join -> replay
//     detach(device):  withdraw -> leave -> close -> lower holds
#pragma once

#include <tether/attach/detail/executor.hpp>
#include <tether/attach/detail/tasks.hpp>
#include <tether/attach/lifecycle/plans.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/error.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/listen/progress.hpp>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <iterator>
#include <list>
#include <mutex>
#include <string_view>
#include <system_error>

namespace tether::detail {

/// A group here is an IOMMU group (sysfs' iommu_group), devices that the IOMMU cannot isolate from
/// each other: its record exists from its first device to its last.
template <class Backend, class Configuration>
class device_operations : public executor<Backend, Configuration> {
  using base = executor<Backend, Configuration>;

  template <class Monitor = unmonitored>
  using task_type = device_task<Backend, typename base::inhibition, Monitor>;
  using group_record = typename base::record;

 public:
  using base::base;

 protected:
  /// Fails: `already_there`, `diverged`, `other_gate`, `unplug_requested`, `consent_refused`,
  /// `mixed_group`, what the gate, the granularity or the backend says.
  template <class Monitor>
  result<handle_ids> attach_with(typename Backend::endpoint_type const& description, consent agrees,
                                 Monitor* who) noexcept {
    if (this->is_parents()) [[unlikely]]
      return failure(inherited("attach"));
    std::lock_guard alone{this->operation_};
    const std::string_view name = description.name();
    if (auto able = this->may_attach(name); !able) return failure(able.error());
    auto group = std::ranges::find(this->groups_, description.group(), &group_record::name);
    for (group_record const& one : this->groups_) {
      if (std::ranges::find(one.devices, name, &device_record<Backend>::name) !=
          one.devices.end()) {
        return failure(error{"attach", errc::already_there}.of(name));
      }
    }
    if (group != this->groups_.end() && group->unplug_requested)
      return failure(error{"attach", errc::unplug_requested}.of(name));
    std::list<group_record> fresh_group;
    std::list<device_record<Backend>> fresh;
    TETHER_TRY {
      if (group == this->groups_.end())
        group = fresh_group.emplace(fresh_group.end(), this->next_id_++, description.group());
      fresh.emplace_back(this->next_id_++, name, agrees);
    }
    TETHER_CATCH(std::exception const&) { return failure(error::out_of_memory("attach").of(name)); }
    task_type<Monitor> task{
        {.group = *group, .device = &fresh.back(), .agrees = agrees, .who = who}, &description};
    const ending end = this->run_attach(task, fresh.back().name);
    if (end == ending::rolled_back) return failure(this->in_this(*task.first_error, name));
    const std::uint64_t id = fresh.back().id;
    fresh.back().since = now_in_seconds();
    if (!fresh_group.empty()) group->since = fresh.back().since;
    this->insert(group->devices, fresh, *group);
    this->insert(this->groups_, fresh_group, *group);
    if (first_device()->id == id) this->name_listener(first_device()->name);
    if (end == ending::diverged) return failure(this->diverge(*task.first_error));
    return handle_ids{group->id, id};
  }

  result<void> detach(std::uint64_t id, std::uint64_t device_id) noexcept {
    if (this->is_parents()) [[unlikely]]
      return failure(inherited("detach"));
    std::lock_guard alone{this->operation_};
    const auto group = this->find(id);
    if (group == this->groups_.end()) return failure(stale("detach"));
    const auto device = std::ranges::find(group->devices, device_id, &device_record<Backend>::id);
    if (device == group->devices.end()) return failure(stale("detach"));
    if (auto able = this->may_work("detach", device->name); !able) return able;
    if (this->hide(device, std::next(device)) != nullptr) [[unlikely]]
      return failure(device->lease_in_the_way_of("detach"));
    task_type<> task{{.group = *group, .device = &*device, .agrees = device->agrees}};
    const bool last = this->counts_.members == 1 && group->counts.open() == 1;
    const ending end = this->run_detach(task, last);
    if (auto done = this->answer(end, task); !done) {
      this->show(device, std::next(device));
      return failure(done.error());
    }
    group->unplug_answered = group->unplug_requested;
    const bool named_after = first_device() == &*device;
    std::list<device_record<Backend>> gone;  // its name is in use until there is another
    this->take(group->devices, device, gone, *group);
    if (group->devices.empty()) this->erase(this->groups_, group, *group);
    if (named_after)
      this->name_listener(first_device() ? std::string_view{first_device()->name}
                                         : std::string_view{});
    return {};
  }

 private:
  device_record<Backend> const* first_device() const noexcept {
    if (this->groups_.empty() || this->groups_.front().devices.empty()) return nullptr;
    return &this->groups_.front().devices.front();
  }
};

}  // namespace tether::detail
