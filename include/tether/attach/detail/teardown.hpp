// SPDX-License-Identifier: BSL-1.0
// The last resort of a container whose rollback failed: the kernel object itself is torn down, or,
// where that fails too, what a device may still reach is kept: until the last BAR view has ended
// (`remains.hpp`), or else for ever.
#pragma once

#include <tether/attach/detail/operations.hpp>
#include <tether/attach/detail/remains.hpp>
#include <tether/backend/concepts.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/error.hpp>
#include <tether/core/stop.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/detail/ledger.hpp>

#include <mutex>
#include <new>

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
  /// What a container's destructor does. Requires: nothing is done with this afterwards.
  void end() noexcept {
    if (this->guarded_.is_inherited()) {
      leave_to_parent();
      return;
    }
    if (auto const* const busy = this->leased(); busy != nullptr) [[unlikely]] {
      stop(
          "tether[D1]: a container was destroyed while a lease of one of its devices was out, so a "
          "device would be used that is gone: end leases first",
          busy->name);
    }
    while (!this->groups_.empty() && !this->is_diverged()) {
      if (auto gone = detach_one_of(this->groups_.back()); !gone)
        static_cast<void>(this->diverge(gone.error()));
    }
    if (!this->is_diverged()) return;
    auto gone = abandon_all();
    if (gone || leave_to_views()) return;
    // the last view may have ended after it was found in the way
    if constexpr (tells_when_unused<Backend>) gone = abandon_all();
    if (!gone) keep_what_is_left(this->named(gone.error()));
  }
  /// All that is attached, by tearing down the kernel object itself.
  result<void> abandon_all() noexcept {
    if (this->is_parents()) [[unlikely]]
      return failure(inherited("abandon"));
    std::lock_guard alone{this->operation_};
    if (auto const* const busy = this->hide_all())
      return failure(busy->lease_in_the_way_of("abandon", {}));
    if (auto gone = this->let_go_of_everything(); !gone) {
      this->show_all();
      static_cast<void>(this->diverge(gone.error()));
      return gone;
    }
    this->counts_ = {};
    for (group_record& group : this->groups_) {
      group.counts = {};
      this->lower_holds(group);
    }
    this->forget_groups();
    return {};
  }
  /// KVM and open devices keep a group busy, so they come first; a single device is closed once
  /// nothing is mapped for it.
  result<void> let_go_of_everything() noexcept {
    // one that stays open keeps its group from leaving
    if constexpr (of_groups) static_cast<void>(close_every_device());
    static_cast<void>(this->space_.remove_listener(this->listener_));
    if (auto forgotten = remove_from_kvm<Backend>(this->groups_, this->kvm_); !forgotten)
      return forgotten;
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
  result<void> close_every_device() noexcept {
    std::lock_guard turn{this->mutex_};
    this->call_listener({});  // it may be a device's
    return close_devices(this->backend_, this->groups_,
                         [this](auto& of, auto one) { this->erase(of.devices, one, of); });
  }
  /// Leaves what a device may still reach to the BARs that are mapped: the last view ends it.
  /// False: none is mapped now. Requires: if it is true, nothing else is done with this any more.
  [[gnu::cold, gnu::noinline]] bool leave_to_views() noexcept {
    if constexpr (tells_when_unused<Backend>) {
      using remains_type = remains<Backend, Configuration>;
      if (auto* const left = new (std::nothrow) remains_type{this->gate_}; left != nullptr) {
        if (left->awaits(this->backend_, this->groups_)) {
          this->guarded_.keep_for_ever();
          left->take_over(this->backend_, this->kvm_, this->groups_, this->held_,
                          this->listener_.take_kept_memory());
          return true;
        }
        delete left;
      }
    }
    return false;
  }
  /// Keeps what a device may still reach for ever, because of `why`. Requires: as above.
  [[gnu::cold, gnu::noinline]] void keep_what_is_left(error const& why) noexcept {
    this->guarded_.keep_for_ever();
    keep_for_ever();
    say_kept(why);
  }
  /// Lets the copy be destroyed that a child of a fork has. Nothing of it is the child's but its
  /// descriptors.
  [[gnu::cold, gnu::noinline]] void leave_to_parent() noexcept {
    this->listener_.keep_memory_for_ever();
    if constexpr (holds_for_a_container<inhibition>) ledger::forget(this->held_);
    if constexpr (holds_for_a_group<inhibition>) {
      for (group_record& group : this->groups_) ledger::forget(group.held);
    }
  }

 private:
  result<void> detach_one_of(group_record& group) noexcept {
    if constexpr (of_groups) return this->detach(group.id);
    else return this->detach(group.id, group.devices.back().id);
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
