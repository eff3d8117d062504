// SPDX-License-Identifier: BSL-1.0
// The last resort of a container whose rollback failed: the kernel object itself is torn down, or,
// where that fails too, what a device may still reach is kept for ever.
#pragma once

#include <tether/attach/detail/operations.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/error.hpp>
#include <tether/inhibit/concepts.hpp>

#include <mutex>
#include <string_view>
#include <system_error>

namespace tether::detail {

template <class Backend, class Configuration>
class teardown : public operations_of<Backend, Configuration> {
  using base = operations_of<Backend, Configuration>;
  using group_record = typename base::record;
  using inhibition = typename base::inhibition;
  static constexpr bool of_groups = Backend::unit == attach_unit::group;

 public:
  using base::base;

 protected:
  /// KVM and open devices keep a group busy, so they come first; a single device is closed once
  /// nothing is mapped for it.
  result<void> let_go_of_everything() noexcept {
    // one that stays open keeps its group from leaving
    if constexpr (of_groups) static_cast<void>(close_every_device());
    static_cast<void>(this->space_.remove_listener(this->listener_));
    if (auto forgotten = remove_all_from_kvm(); !forgotten) return forgotten;
    if (auto gone = abandon_backend(); !gone) return gone;
    if constexpr (of_groups) {
      // Nothing of a group is open when its hold is released.
      for (group_record& group : this->groups_) group.joined.reset();
    } else {
      if (auto closed = close_every_device(); !closed) return closed;
    }
    std::lock_guard turn{this->mutex_};
    this->listener_.reset();
    return {};
  }
  result<void> abandon_backend() noexcept {
    std::lock_guard turn{this->mutex_};
    return this->backend_.abandon();
  }
  /// Closes all it can; `stale_handle` means that the backend has closed one already. Fails: the
  /// first error.
  result<void> close_every_device() noexcept {
    std::lock_guard turn{this->mutex_};
    this->listener_.name({});  // it may be a device's
    result<void> first{};
    for (group_record& group : this->groups_) {
      for (auto next = group.devices.begin(); next != group.devices.end();) {
        const auto one = next++;
        auto closed = one->device ? this->backend_.close(*one->device) : result<void>{};
        if (closed || closed.error().is(errc::stale_handle)) this->erase(group.devices, one);
        else if (first) first = closed;
      }
    }
    return first;
  }
  /// Removes everything from KVM's VFIO device. What was never added to it, or was removed by an
  /// earlier attempt (ENOENT), is skipped.
  result<void> remove_all_from_kvm() noexcept {
    if constexpr (base::tells_kvm) {
      const auto remove = [this](int file, std::string_view name) noexcept {
        if (file < 0) return result<void>{};
        auto forgotten = this->kvm_.remove(file, name);
        return forgotten || forgotten.error().code() == std::errc::no_such_file_or_directory
                   ? result<void>{}
                   : forgotten;
      };
      for (group_record& group : this->groups_) {
        if constexpr (of_groups) {
          if (!group.joined) continue;
          if (auto done = remove(Backend::kvm_file(*group.joined), group.name); !done) return done;
        } else {
          for (auto& one : group.devices) {
            if (!one.device) continue;
            if (auto done = remove(Backend::kvm_file(*one.device), one.name); !done) return done;
          }
        }
      }
    }
    return {};
  }
  void keep_for_ever() noexcept {
    this->listener_.keep_memory_for_ever();
    if constexpr (holds_for_a_container<inhibition>)
      this->gate_.keep_for_ever(this->held_, Configuration::holds);
    if constexpr (holds_for_a_group<inhibition>) {
      for (group_record& group : this->groups_)
        this->gate_.keep_for_ever(group.held, Configuration::holds);
    }
  }
};

}  // namespace tether::detail
