// SPDX-License-Identifier: BSL-1.0
// The composition root: one I/O address space, kept in step with the guest's memory map, with
// discards inhibited exactly while its policy says so. Backend, inhibition and granularity meet
// here and nowhere else.
//
// What it attaches depends on the backend: groups (`group_operations.hpp`) or single devices
// (`device_operations.hpp`).
#pragma once

#include <tether/attach/configuration.hpp>
#include <tether/attach/detail/operations.hpp>
#include <tether/attach/detail/teardown.hpp>
#include <tether/attach/handles.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/stop.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/topology/address_space.hpp>

#include <concepts>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace tether {

/// A container. The backend comes first, then policies in any order, each slot at most once.
/// While something is attached it listens to `space`, at priority 0: among equals in the order of
/// their first attaches, so a listener of yours that must come before has a priority below 0. Where
/// it refuses a change of the map, or is fenced by one, the error names it by what has been
/// attached to it longest (`error::container`). One that has diverged refuses every refusable
/// change of the map, until `abandon`.
/// Requires: `space` and `gate` outlive it; the backend it is given was not moved from (a backend,
/// as a block, may then be assigned or destroyed, and nothing else). Thread-safe as far as its gate
/// is; one lifecycle operation runs at a time, the others wait. An operation may wait for discards
/// (to take a hold) and take seconds (pinning): call it without a permit and without a lock that a
/// discard needs.
template <class Backend, class... Policies>
class container : private detail::teardown<Backend, configuration<Backend, Policies...>> {
  using base = detail::teardown<Backend, configuration<Backend, Policies...>>;
  using group_record = typename base::record;
  using kvm_type = typename base::kvm_type;
  static constexpr bool of_groups = Backend::unit == attach_unit::group;

 public:
  using backend_type = Backend;
  using policies = configuration<Backend, Policies...>;
  using device_type = typename Backend::device_type;
  /// What `attach` takes: a group, or a device where devices are attached one by one.
  using source_type = typename detail::source_of<Backend>::type;
  /// What `attach` returns, and what opens a device: the same where devices are attached one by
  /// one.
  using attached =
      std::conditional_t<of_groups, attached_group<container>, attached_device<container>>;
  using opened =
      std::conditional_t<of_groups, opened_device<container>, attached_device<container>>;

  template <class Threading>
  container(address_space& space, discard_gate<Threading>& gate, Backend backend, kvm_type kvm)
      : base{space, own_gate(gate), std::move(backend), std::move(kvm)} {}
  template <class Threading>
    requires std::default_initializable<kvm_type>
  container(address_space& space, discard_gate<Threading>& gate, Backend backend)
      : container{space, gate, std::move(backend), kvm_type{}} {}
  template <class Threading>
    requires std::default_initializable<kvm_type> && std::default_initializable<Backend>
  container(address_space& space, discard_gate<Threading>& gate)
      : container{space, gate, Backend{}} {}
  container(container const&) = delete;
  container& operator=(container const&) = delete;
  /// Detaches everything. Where that fails, holds, and memory that a device may still reach, are
  /// kept for ever.
  /// Requires: no lease of a device is outstanding (tether[D1]).
  ~container() {
    if (this->leased() != nullptr) {
      stop(
          "tether[D1]: a container was destroyed while a lease of one of its devices was out, so a "
          "device would be used that is gone");
    }
    while (!this->groups_.empty() && !diverged()) {
      if (auto gone = detach_one_of(this->groups_.back()); !gone)
        static_cast<void>(this->diverge(gone.error()));
    }
    if (diverged() && !abandon()) this->keep_for_ever();
  }

  /// Attaches a group: takes the hold, joins, maps. All or nothing (law 11). Its devices are opened
  /// afterwards, through what is returned.
  /// Fails, changing nothing: `already_there`, `diverged`, `other_gate` (a guest has one gate),
  /// what the gate, the strategy or the backend says, naming extent and cause.
  /// Cost: pins the guest's memory, unless another group has already.
  [[nodiscard]] result<attached> attach(source_type const& group) noexcept
    requires(of_groups)
  {
    return attach_with(group, consent::none, static_cast<unmonitored*>(nullptr));
  }
  /// The same, with a progress monitor: called before each piece, it can cancel the attach (law
  /// 27).
  template <progress_monitor Monitor>
    requires(of_groups)
  [[nodiscard]] result<attached> attach(source_type const& group, Monitor& who) noexcept {
    return attach_with(group, consent::none, &who);
  }

  /// Attaches a single device: judges its consent, opens it, takes the hold, joins, maps. All or
  /// nothing (law 11).
  /// Fails, changing nothing: as for a group; `consent_refused`, `mixed_group`, `unplug_requested`
  /// while its IOMMU group is being unplugged.
  /// Cost: pins the guest's memory, unless another device has already.
  [[nodiscard]] result<attached> attach(source_type const& device,
                                        consent agrees = consent::none) noexcept
    requires(!of_groups)
  {
    return attach_with(device, agrees, static_cast<unmonitored*>(nullptr));
  }
  /// The same, with a progress monitor.
  template <progress_monitor Monitor>
    requires(!of_groups)
  [[nodiscard]] result<attached> attach(source_type const& device, consent agrees,
                                        Monitor& who) noexcept {
    return attach_with(device, agrees, &who);
  }

  /// Tears down the kernel object itself, after a rollback has failed. Fails, keeping every hold:
  /// what still prevents it (an outstanding lease, checked before anything is touched); retry when
  /// that is gone. Ensures on success: nothing is attached, mapped or held, and the container can
  /// be reused.
  [[nodiscard]] result<void> abandon() noexcept {
    std::lock_guard alone{this->operation_};
    if (auto const* const busy = this->hide_all())
      return failure(busy->lease_in_the_way_of("abandon"));
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

  // Questions. None waits for an operation or a commit in progress: each is answered as it was when
  // the last one ended, and may be asked from a progress monitor, an observer or a vCPU.

  /// A rollback failed: tether and the kernel may disagree, so everything but `abandon` is refused
  /// and holds stay (law 6).
  [[nodiscard]] bool diverged() const noexcept { return this->is_diverged(); }
  [[nodiscard]] mapped_usage usage() const noexcept {
    std::lock_guard moment{this->records_};
    return this->published_.usage;
  }
  /// Bytes trimmed at unaligned edges of sections: devices do not see them.
  [[nodiscard]] std::uint64_t trimmed_bytes() const noexcept {
    std::lock_guard moment{this->records_};
    return this->published_.trimmed_bytes;
  }
  /// Sections that devices do not see although they are memory, by address, and why. Fails: may
  /// throw `std::bad_alloc`. Where memory was too short to keep a copy, it waits, as does
  /// `usable_iova`.
  [[nodiscard]] std::vector<left_out_section> left_out() const {
    {
      std::lock_guard moment{this->records_};
      if (this->published_.lists_complete) [[likely]]
        return this->published_.left_out;
    }
    std::lock_guard turn{this->mutex_};
    return this->listener_.left_out();
  }
  /// The IOVA ranges where guest memory may lie. Can be called before any is placed; may change
  /// with every attach and detach.
  [[nodiscard]] std::vector<extent<io_address>> usable_iova() const {
    {
      std::lock_guard moment{this->records_};
      if (this->published_.lists_complete) [[likely]]
        return this->published_.usable_iova;
    }
    std::lock_guard turn{this->mutex_};
    const auto ranges = this->backend_.usable_iova();
    return {ranges.begin(), ranges.end()};
  }
  [[nodiscard]] container_counts membership() const noexcept {
    std::lock_guard moment{this->records_};
    return this->published_.counts;
  }
  /// The backend, for queries of its own. Do not map or join through it.
  [[nodiscard]] Backend& backend() noexcept { return this->backend_; }
  [[nodiscard]] auto& observer() noexcept { return this->listener_.observer(); }
  /// Returns `f(observer)`, called under the backend's lock: nothing is mapped or unmapped
  /// meanwhile. Requires: it calls nothing of this container.
  template <class Function>
  decltype(auto) with_observer(Function f) {
    std::lock_guard turn{this->mutex_};
    return f(this->listener_.observer());
  }

 private:
  template <class Threading>
  static auto& own_gate(discard_gate<Threading>& gate) noexcept {
    static_assert(std::is_same_v<Threading, typename base::threading>,
                  "tether[T1]: this container and its gate were built for different threading: "
                  "give the container the gate's "
                  "(container<Backend, ..., single_threaded>, say)");
    if constexpr (std::is_same_v<Threading, typename base::threading>) return gate;
    else return reinterpret_cast<typename base::gate_type&>(gate);  // never reached: refused above
  }

  friend attached_group<container>;
  friend attached_device<container>;
  friend opened_device<container>;

  template <class Monitor>
  result<attached> attach_with(source_type const& what, consent agrees, Monitor* who) noexcept {
    auto ids = base::attach_with(what, agrees, who);
    if (!ids) return failure(ids.error());
    if constexpr (of_groups) return attached{*this, ids->group};
    else return attached{*this, ids->group, ids->device};
  }

  result<void> detach_one_of(group_record& group) noexcept {
    if constexpr (of_groups) return this->detach(group.id);
    else return this->detach(group.id, group.devices.back().id);
  }
};

}  // namespace tether
