// SPDX-License-Identifier: BSL-1.0
// What a container leaves that was destroyed while a BAR of its device was mapped: the kernel keeps
// the group and its pins until the view is gone. The backend, the records, the holds and the memory
// that is mapped go on as one object, and the last view ends what the container began.
//
//     container --destroyed--> remains <--told by the last view-- device
//                                 | closes, tells KVM, abandons the kernel's object
//                                 +-> then frees memory, lowers holds
#pragma once

#include <tether/attach/detail/records.hpp>
#include <tether/backend/concepts.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/detail/exceptions.hpp>
#include <tether/core/detail/process_mark.hpp>
#include <tether/core/detail/say_once.hpp>
#include <tether/core/error.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/detail/kept_owners.hpp>
#include <tether/inhibit/detail/ledger.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/listen/detail/kept_memory.hpp>

#include <atomic>
#include <exception>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace tether::detail {

/// Closes all devices that it can, and calls `erase(group, position)` for each; `stale_handle`
/// means that the backend has closed one already. Fails: the first error.
template <class Backend, class Groups, class Erase>
result<void> close_devices(Backend& backend, Groups& groups, Erase erase) noexcept {
  result<void> first{};
  for (auto& group : groups) {
    for (auto next = group.devices.begin(); next != group.devices.end();) {
      const auto one = next++;
      auto closed = one->device ? backend.close(*one->device) : result<void>{};
      if (closed || closed.error().is(errc::stale_handle)) erase(group, one);
      else if (first) first = closed;
    }
  }
  return first;
}

/// Removes everything from KVM's VFIO device. What was never added to it, or was removed by an
/// earlier attempt (ENOENT), is skipped.
template <class Backend, class Groups, class Kvm>
result<void> remove_from_kvm([[maybe_unused]] Groups& groups, [[maybe_unused]] Kvm& kvm) noexcept {
  if constexpr (Kvm::tells) {
    const auto remove = [&](int file, std::string_view name) noexcept {
      if (file < 0) return result<void>{};
      auto forgotten = kvm.remove(file, name);
      return forgotten || forgotten.error().code() == std::errc::no_such_file_or_directory
                 ? result<void>{}
                 : forgotten;
    };
    for (auto& group : groups) {
      if constexpr (Backend::unit == attach_unit::group) {
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

/// Prints tether[D2] on standard error, once in a process: a container was destroyed, and `why` its
/// kernel object could not be.
[[gnu::cold, gnu::noinline]] inline void say_kept(error const& why) noexcept {
  TETHER_TRY {
    const std::string sentence =
        "tether[D2]: a container was destroyed that the kernel has not let go of (" +
        why.sentence() +
        "): its holds, and the memory that it maps, stay until the process ends; detach, or call "
        "abandon(), before a container is destroyed, and heed the error";
    say_once(sentence.c_str());
  }
  TETHER_CATCH(std::exception const&) {
    say_once("tether[D2]: a container was destroyed that the kernel has not let go of");
  }
}

/// Owns itself: destroyed once it has ended what there was to end. Backend and KVM policy are moved
/// here, so what they refer to must outlive the views.
template <class Backend, class Configuration>
class remains : unused_notice, kept_owner {
  using inhibition = typename Configuration::inhibition;
  using gate_type = discard_gate<typename Configuration::threading>;
  using kvm_type = typename Configuration::kvm;
  using record = group_record<Backend, inhibition>;
  static constexpr bool of_groups = Backend::unit == attach_unit::group;

 public:
  explicit remains(gate_type& gate) noexcept
      : unused_notice{[](unused_notice& one) noexcept { static_cast<remains&>(one).end_one(); }},
        kept_owner{[](kept_owner& one, ledger& its) noexcept {
          static_cast<remains&>(one).for_each_entry(
              [&](hold_entry& entry) { its.subtract(entry, entry.count()); });
        }},
        gate_{gate} {}
  remains(remains const&) = delete;
  remains& operator=(remains const&) = delete;
  ~remains() = default;

  /// Whether something uses a device: then `take_over` must follow.
  [[nodiscard]] bool awaits(Backend& backend, std::list<record>& groups) noexcept {
    bool any = false;
    for (record& group : groups) {
      for (auto& one : group.devices) {
        if (!one.device) continue;
        waiting_.fetch_add(1, std::memory_order_relaxed);
        if (backend.tell_when_unused(*one.device, *this)) any = true;
        else waiting_.fetch_sub(1, std::memory_order_relaxed);
      }
    }
    return any;
  }
  /// Takes all of it, and ends it at once if nothing is used any more. `held` is the container's
  /// own entry.
  template <class Entry>
  void take_over(Backend& backend, kvm_type& kvm, std::list<record>& groups, Entry& held,
                 kept_memory memory) noexcept {
    backend_.emplace(std::move(backend));
    kvm_.emplace(std::move(kvm));
    groups_.splice(groups_.end(), groups);
    memory_.emplace(std::move(memory));
    if constexpr (holds_for_a_container<inhibition>) gate_.relocate(held, held_);
    gate_.adopt(*this);
    end_one();
  }

 private:
  void end_one() noexcept {
    if (waiting_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    if (made_by_.is_inherited()) {
      for_each_entry([](hold_entry& entry) { ledger::forget(entry); });
      memory_->keep_for_ever();
    } else if (const auto gone = let_go(); gone) {
      memory_->release();
      kept_owners::remove(*this, [this] {
        for_each_entry([this](hold_entry& entry) { gate_.lower(entry, entry.count()); });
      });
    } else {
      memory_->keep_for_ever();
      kept_owners::remove(*this, [this] {
        for_each_entry(
            [this](hold_entry& entry) { gate_.keep_for_ever(entry, Configuration::holds); });
      });
      say_kept(gone.error());
    }
    delete this;
  }
  result<void> let_go() noexcept {
    const auto close_all = [this] {
      return close_devices(*backend_, groups_, [](auto& of, auto one) { of.devices.erase(one); });
    };
    if constexpr (of_groups) static_cast<void>(close_all());
    if (auto forgotten = remove_from_kvm<Backend>(groups_, *kvm_); !forgotten) return forgotten;
    if (auto gone = backend_->abandon(); !gone) return gone;
    if constexpr (of_groups) {
      for (record& group : groups_) group.joined.reset();
      return {};
    } else {
      return close_all();
    }
  }
  template <class Visit>
  void for_each_entry([[maybe_unused]] Visit visit) noexcept {
    if constexpr (holds_for_a_container<inhibition>) visit(held_);
    if constexpr (holds_for_a_group<inhibition>) {
      for (record& group : groups_) visit(group.held);
    }
  }

  process_mark made_by_;  // in a child of a fork nothing but descriptors is closed
  gate_type& gate_;
  /// Devices that are used, and one for who hands over.
  std::atomic<unsigned> waiting_{1};
  std::optional<Backend> backend_{};
  std::optional<kvm_type> kvm_{};
  std::optional<kept_memory> memory_{};
  [[no_unique_address]] hold_entry_if<holds_for_a_container<inhibition>> held_{"container"};
  std::list<record> groups_{};
};

}  // namespace tether::detail
