// SPDX-License-Identifier: BSL-1.0
// A container's state: the backend with its locks, the listener that maps, the counts and holds,
// and the records of what is attached.
#pragma once

#include <tether/attach/detail/records.hpp>
#include <tether/attach/lease.hpp>
#include <tether/core/error.hpp>
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
#include <string_view>
#include <utility>

namespace tether::detail {

template <class Backend, class Configuration>
class container_state {
 public:
  using inhibition = typename Configuration::inhibition;
  using threading = typename Configuration::threading;
  using kvm_type = typename Configuration::kvm;
  using gate_type = discard_gate<threading>;
  using record = group_record<Backend, inhibition>;
  using listener_type =
      dma_listener<Backend, typename Configuration::granularity, typename Configuration::edges,
                   typename Configuration::observation, typename threading::mutex, trusted_feed>;

  static constexpr bool tells_kvm = kvm_type::tells;

  container_state(address_space& space, gate_type& gate, Backend&& backend, kvm_type&& kvm) noexcept
      : space_{space},
        gate_{gate},
        guarded_{space, gate.id()},
        backend_{std::move(backend)},
        kvm_{std::move(kvm)},
        listener_{backend_, mutex_} {
    // others are refused (tether[I9])
    if constexpr (constant_rule<inhibition>) check_at_run_time<inhibition>();
  }

 protected:
  auto find(std::uint64_t id) noexcept { return std::ranges::find(groups_, id, &record::id); }
  /// Null if it is not open any more. Requires: `operation_` is held.
  device_record<Backend>* find_open(std::uint64_t id, std::uint64_t device_id) noexcept {
    const auto group = find(id);
    if (group == groups_.end()) return nullptr;
    const auto device = std::ranges::find(group->devices, device_id, &device_record<Backend>::id);
    return device == group->devices.end() || !device->device ? nullptr : &*device;
  }
  typename Backend::device_type* find_device(std::uint64_t id, std::uint64_t device_id) noexcept {
    std::lock_guard alone{operation_};
    auto* const found = find_open(id, device_id);
    return found == nullptr ? nullptr : &*found->device;
  }
  result<device_lease<typename Backend::device_type>> lease(std::uint64_t id,
                                                            std::uint64_t device_id) noexcept {
    std::lock_guard alone{operation_};
    auto* const found = find_open(id, device_id);
    if (found == nullptr) return failure(error{"lease device", errc::stale_handle});
    return device_lease<typename Backend::device_type>{*found->device, found->leases};
  }
  /// The first device with an outstanding lease, or null.
  device_record<Backend> const* leased() const noexcept {
    for (record const& group : groups_) {
      if (auto const* const busy = group.leased()) return busy;
    }
    return nullptr;
  }
  result<void> request_unplug(std::uint64_t id) noexcept {
    std::lock_guard alone{operation_};
    const auto group = find(id);
    if (group == groups_.end()) return failure(error{"request unplug", errc::stale_handle});
    group->unplug_requested = true;
    return {};
  }

  /// Names the listener after what has been attached longest: whenever that is another.
  void name_listener(std::string_view name) noexcept {
    std::lock_guard turn{mutex_};
    listener_.name(name);
  }

  [[nodiscard]] bool is_diverged() const noexcept {
    std::lock_guard turn{mutex_};
    return listener_.diverged();
  }
  result<void> may_work(const char* what, std::string_view name) const noexcept {
    if (!is_diverged()) [[likely]]
      return {};
    return failure(error{what, errc::diverged}.of(name).advise("call abandon()"));
  }
  error diverge(error const& why) noexcept {
    std::lock_guard turn{mutex_};
    if (!listener_.diverged()) listener_.diverge(why);
    return why.with_failed_rollback();
  }

  address_space& space_;
  gate_type& gate_;
  guarded_space guarded_;
  Backend backend_;
  [[no_unique_address]] kvm_type kvm_;
  // one lifecycle operation at a time; taken first of all
  [[no_unique_address]] mutable typename threading::mutex operation_;
  // around every call into the backend; taken last
  [[no_unique_address]] mutable typename threading::mutex mutex_;
  listener_type listener_;
  container_counts counts_{};
  [[no_unique_address]] hold_entry_if<holds_for_a_container<inhibition>> held_{"container"};
  std::list<record> groups_;
  std::uint64_t next_id_ = 1;
};

}  // namespace tether::detail
