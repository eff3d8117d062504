// SPDX-License-Identifier: BSL-1.0
// A container's state: the backend with its locks, the listener that maps, the counts and holds,
// and the records of what is attached.
#pragma once

#include <tether/attach/container_status.hpp>
#include <tether/attach/detail/published.hpp>
#include <tether/attach/detail/questions.hpp>
#include <tether/attach/detail/records.hpp>
#include <tether/attach/detail/told_tracer.hpp>
#include <tether/attach/lease.hpp>
#include <tether/core/address.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/detail/process_mark.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/label.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/detail/truth_table.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/listen/detail/feed.hpp>
#include <tether/listen/dma_listener.hpp>
#include <tether/topology/address_space.hpp>
#include <tether/topology/detail/guarded_space.hpp>

#include <algorithm>
#include <cstdint>
#include <list>
#include <mutex>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace tether::detail {

template <class Backend, class Configuration>
class container_state : public told_tracer<typename Configuration::tracing> {
 public:
  using inhibition = typename Configuration::inhibition;
  using threading = typename Configuration::threading;
  using kvm_type = typename Configuration::kvm;
  using gate_type = discard_gate<threading>;
  using record = group_record<Backend, inhibition>;
  using backend_mutex = publishing_mutex<typename threading::mutex, container_state>;
  using listener_type =
      dma_listener<Backend, typename Configuration::granularity, typename Configuration::edges,
                   typename Configuration::observation, backend_mutex, trusted_feed>;

  using device_position = typename std::list<device_record<Backend>>::iterator;

  static constexpr bool tells_kvm = kvm_type::tells;

  /// `name`: as a user calls it; empty: it is called by what has been attached longest.
  container_state(address_space& space, gate_type& gate, Backend&& backend, kvm_type&& kvm,
                  std::string_view name = {}) noexcept
      : name_{name},
        space_{space},
        gate_{gate},
        guarded_{space, gate.id()},
        backend_{std::move(usable(backend))},
        kvm_{std::move(kvm)},
        mutex_{*this},
        listener_{backend_, mutex_},
        held_{name.empty() ? std::string_view{"container"} : name} {
    listener_.name(name_.view());
    // others are refused (tether[I9])
    if constexpr (constant_rule<inhibition>) check_at_run_time<inhibition>();
    publish();
  }

  /// Copies what can be asked for. Requires: the backend's lock is held, or nobody has this yet.
  void publish() noexcept {
    auto const& ranges = backend_.usable_iova();
    const std::span<extent<io_address> const> usable{ranges};
    std::lock_guard moment{records_};
    published_.usage = listener_.usage();
    published_.trimmed_bytes = listener_.trimmed_bytes();
    published_.diverged = listener_.diverged();
    published_.left_out_count = listener_.left_out_count();
    if (!published_.lists_equal(listener_.left_out_version(), usable)) [[unlikely]]
      published_.copy_lists([this](left_out_copy& all) { listener_.update_left_out(all); },
                            listener_.left_out_version(), usable);
  }

 protected:
  /// `backend`, unless it was moved from, as far as it can tell.
  static Backend& usable(Backend& backend) noexcept {
    if constexpr (requires { static_cast<bool>(backend.is_moved_from()); }) {
      if (backend.is_moved_from()) [[unlikely]]
        stop(
            "tether[B9]: a container was given a backend that had been moved from, to another "
            "container perhaps: give each one of its own");
    }
    return backend;
  }
  auto find(std::uint64_t id) noexcept { return std::ranges::find(groups_, id, &record::id); }
  /// Null if it is not open, or being closed. Requires: `records_` is held.
  device_record<Backend>* find_open(std::uint64_t id, std::uint64_t device_id) noexcept {
    const auto group = find(id);
    if (group == groups_.end()) return nullptr;
    const auto device = std::ranges::find(group->devices, device_id, &device_record<Backend>::id);
    if (device == group->devices.end() || !device->within_reach || !device->device) return nullptr;
    return &*device;
  }
  typename Backend::device_type* find_device(std::uint64_t id, std::uint64_t device_id) noexcept {
    std::lock_guard moment{records_};
    auto* const found = find_open(id, device_id);
    return found == nullptr ? nullptr : &*found->device;
  }
  result<device_lease<typename Backend::device_type>> lease(std::uint64_t id,
                                                            std::uint64_t device_id) noexcept {
    std::lock_guard moment{records_};
    auto* const found = find_open(id, device_id);
    if (found == nullptr) return failure(stale("lease device"));
    return device_lease<typename Backend::device_type>{*found->device, found->leases};
  }
  /// Puts devices out of the reach of handles before they are closed. If one has an outstanding
  /// lease, returns it, and all stay as they are.
  device_record<Backend> const* hide(device_position first, device_position last) noexcept {
    if (first == last) return nullptr;
    std::lock_guard moment{records_};
    for (auto one = first; one != last; ++one) {
      if (one->leases.out() != 0) [[unlikely]]
        return &*one;
    }
    for (auto one = first; one != last; ++one) one->within_reach = false;
    return nullptr;
  }
  /// They were not closed after all.
  void show(device_position first, device_position last) noexcept {
    std::lock_guard moment{records_};
    for (auto one = first; one != last; ++one) one->within_reach = true;
  }
  /// The same for every device.
  device_record<Backend> const* hide_all() noexcept {
    std::lock_guard moment{records_};
    if (auto const* const busy = leased()) return busy;
    set_reach_of_all(false);
    return nullptr;
  }
  void show_all() noexcept {
    std::lock_guard moment{records_};
    set_reach_of_all(true);
  }
  // What an operation has changed is seen at once: its record and the counts, and holds, of the
  // container and of the group that it concerned.
  template <class List>
  [[gnu::always_inline]] void insert(List& all, List& fresh, record& of) noexcept {
    std::lock_guard moment{records_};
    publish_counts(of);
    all.splice(all.end(), fresh);
  }
  /// Requires: `records_` is held, and this thread's operation runs.
  void publish_counts(record& of) noexcept {
    published_.counts = counts_;
    if constexpr (holds_for_a_container<inhibition>) published_.holds = held_.count();
    of.published = {of.counts, of.held.count()};
  }
  /// The same for an operation that has failed, and perhaps kept holds.
  [[gnu::cold]] void publish_failure(record& of) noexcept {
    std::lock_guard moment{records_};
    publish_counts(of);
  }
  void forget_groups() noexcept {
    std::list<record> gone;
    std::lock_guard moment{records_};
    published_.counts = {};
    published_.holds = held_.count();
    gone.swap(groups_);
  }
  template <class List>
  void take(List& all, typename List::iterator which, List& gone, record& of) noexcept {
    std::lock_guard moment{records_};
    publish_counts(of);
    gone.splice(gone.end(), all, which);
  }
  /// Destroys a record without the lock: that may close descriptors.
  template <class List>
  void erase(List& all, typename List::iterator which, record& of) noexcept {
    List gone;
    take(all, which, gone, of);
  }
  /// The first device with an outstanding lease, or null.
  device_record<Backend> const* leased() const noexcept {
    for (record const& group : groups_) {
      if (auto const* const busy = group.leased()) return busy;
    }
    return nullptr;
  }
  [[nodiscard]] std::vector<handle_ids> every_group() const {
    std::lock_guard moment{records_};
    return detail::every_group(groups_);
  }
  [[nodiscard]] std::vector<handle_ids> every_device(std::uint64_t of) const {
    std::lock_guard moment{records_};
    return detail::every_device(groups_, of);
  }
  [[nodiscard]] label name_of(std::uint64_t id, std::uint64_t device_id) const noexcept {
    std::lock_guard moment{records_};
    return detail::name_of(groups_, {id, device_id});
  }

  /// Names the listener after what has been attached longest, whenever that is another; a container
  /// that a user has named keeps its name. Requires: no other thread uses the listener, or else its
  /// lock is held.
  void call_listener(std::string_view name) noexcept {
    if (!is_named()) listener_.name(name);
  }
  void name_listener(std::string_view name) noexcept {
    std::lock_guard turn{mutex_.quiet()};
    call_listener(name);
  }
  [[nodiscard]] bool is_named() const noexcept { return *name_.c_str() != '\0'; }
  /// An error, with the container in it if a user has named that.
  [[nodiscard]] [[gnu::cold]] error named(error const& why) const noexcept {
    return is_named() && why.container().empty() ? why.in(name_.view()) : why;
  }

  /// Fills in all but what its type says.
  void copy_status(container_status& now) const {
    std::lock_guard moment{records_};
    detail::copy_status(published_, groups_, now);
    now.name = name_.view();
    if (is_named() || groups_.empty()) return;
    if constexpr (Backend::unit == attach_unit::group) now.name = groups_.front().name;
    else if (!groups_.front().devices.empty()) now.name = groups_.front().devices.front().name;
  }
  [[nodiscard]] bool is_diverged() const noexcept {
    std::lock_guard moment{records_};
    return published_.diverged;
  }
  /// Asked before any lock is taken, which another thread of the parent may have held.
  [[nodiscard]] bool is_parents() const noexcept { return guarded_.is_inherited(); }
  result<void> may_work(const char* what, std::string_view name) const noexcept {
    if (!is_diverged()) [[likely]]
      return {};
    return failure(error{what, errc::diverged}.of(name).advise("call abandon()"));
  }
  /// Whether something may be attached at all.
  result<void> may_attach(std::string_view name) const noexcept {
    if (auto able = may_work("attach", name); !able) return able;
    if (!guarded_.usable()) [[unlikely]]
      return failure(guarded_.usable().error().of(name));
    return {};
  }
  error diverge(error const& why) noexcept {
    std::lock_guard turn{mutex_};
    if (!listener_.diverged()) listener_.diverge(why);
    return why.with_failed_rollback();
  }

  /// An attach's error, with the container by what is attached, or else by what was to be.
  [[gnu::cold]] error in_this(error const& why, std::string_view attaching) const noexcept {
    const auto first = listener_.name();
    if (!why.container().empty() || (first.empty() && why.subject() == attaching)) return why;
    return why.in(first.empty() ? attaching : first);
  }

  void set_reach_of_all(bool within) noexcept {
    for (record& group : groups_) {
      for (auto& one : group.devices) one.within_reach = within;
    }
  }

  label name_;
  address_space& space_;
  gate_type& gate_;
  guarded_space guarded_;
  Backend backend_;
  [[no_unique_address]] kvm_type kvm_;
  // one lifecycle operation at a time; taken first of all
  [[no_unique_address]] mutable typename threading::mutex operation_;
  // around every call into the backend
  mutable backend_mutex mutex_;
  // around the records' lists and what is published, for a moment; taken last
  [[no_unique_address]] mutable typename threading::mutex records_;
  published published_;
  listener_type listener_;
  container_counts counts_{};
  [[no_unique_address]] hold_entry_if<holds_for_a_container<inhibition>> held_;
  std::list<record> groups_;
  std::uint64_t next_id_ = 1;
};

}  // namespace tether::detail
