// SPDX-License-Identifier: BSL-1.0
// The composition root: one I/O address space, kept in step with the guest's memory map, with
// discards inhibited exactly while its policy says so. Backend, inhibition and granularity meet
// here and nowhere else.
//
// What it attaches depends on the backend: groups (`group_operations.hpp`) or single devices
// (`device_operations.hpp`).
#pragma once

#include <tether/attach/configuration.hpp>
#include <tether/attach/container_status.hpp>
#include <tether/attach/detail/judgement.hpp>
#include <tether/attach/detail/operations.hpp>
#include <tether/attach/detail/refused_container.hpp>
#include <tether/attach/detail/teardown.hpp>
#include <tether/attach/handles.hpp>
#include <tether/backend/concepts.hpp>
#include <tether/backend/endpoint.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/inhibit/threading.hpp>
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
/// it refuses a change of the map, or is fenced by one, the error names it, by its own name or what
/// has been attached to it longest (`error::container`). One that has diverged refuses every
/// refusable change of the map, until `abandon`.
/// Requires: `space` and `gate` outlive it; the backend it is given was not moved from (a backend,
/// as a block, may then be assigned or destroyed, and nothing else). Thread-safe as far as its gate
/// is; one lifecycle operation runs at a time, the others wait. An operation may wait for discards
/// (to take a hold) and take seconds (pinning): call it without a permit and without a lock that a
/// discard needs.
template <class Backend, class... Policies>
class container : private detail::teardown<Backend, configuration<Backend, Policies...>> {
  using base = detail::teardown<Backend, configuration<Backend, Policies...>>;
  using kvm_type = typename base::kvm_type;
  static constexpr bool of_groups = Backend::unit == attach_unit::group;

 public:
  using backend_type = Backend;                          ///< the backend's type
  using policies = configuration<Backend, Policies...>;  ///< every slot's policy
  using device_type = typename Backend::device_type;     ///< what an opened device is
  /// What `attach` takes: a group, or a device where devices are attached one by one.
  using source_type = typename detail::source_of<Backend>::type;
  /// What `attach` returns, and what opens a device: the same where devices are attached one by
  /// one.
  using attached =
      std::conditional_t<of_groups, attached_group<container>, attached_device<container>>;
  using opened =
      std::conditional_t<of_groups, opened_device<container>, attached_device<container>>;

  /// With a KVM policy of its own. The space and the gate must live longer. `name`: what errors,
  /// status and tracers call it, cut at 47 bytes; without one, what was attached to it longest ago.
  template <class Threading>
  container(address_space& space, discard_gate<Threading>& gate, Backend backend, kvm_type kvm,
            std::string_view name = {})
      : base{space, detail::same_threading<typename base::threading>(gate), std::move(backend),
             std::move(kvm), name} {}
  /// With the KVM policy's default, which tells nobody; one that has none is given (tether[K3]).
  template <class Threading>
  container(address_space& space, discard_gate<Threading>& gate, Backend backend,
            std::string_view name = {})
      : container{space, gate, std::move(backend),
                  detail::by_default<kvm_type, detail::kvm_policy_that_is_not_open>(), name} {}
  /// With a backend's default, too; one that has none is opened and given (tether[B12]).
  template <class Threading>
  container(address_space& space, discard_gate<Threading>& gate, std::string_view name = {})
      : container{space, gate, detail::by_default<Backend, detail::backend_that_is_not_open>(),
                  name} {}
  container(container const&) = delete;
  container& operator=(container const&) = delete;
  /// Detaches everything. What a mapped BAR keeps busy is detached by its last view, and until then
  /// holds, and memory that a device may still reach, are kept. Where the kernel refuses otherwise
  /// they are kept for ever, which is said once on standard error (tether[D2]). In a child of a
  /// fork all of it is the parent's: it closes the child's descriptors, and does nothing else.
  /// Requires: no lease of a device is outstanding (tether[D1]).
  ~container() { this->end(); }

  /// Attaches a group: takes the hold, joins, maps. All or nothing (law 11). Its devices are opened
  /// afterwards, through what is returned.
  /// Fails, changing nothing: `already_there`, `diverged`, `other_gate` (a guest has one gate),
  /// what the gate, the granularity or the backend says, naming extent and cause.
  /// Cost: pins the guest's memory, unless another group has already: what a balloon took comes
  /// back in, except for discarded units where this maps in blocks.
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

  /// Attaches a device by its name, whatever the backend attaches: where that is groups, its group,
  /// unless it is there, and opens it; all of it or nothing. What it returns is detached likewise:
  /// a group that came so goes with its last device.
  /// Fails, changing nothing: `no_such_device`, the errno of a path, what the backend's `locate`
  /// says; as `attach` and `open`. Where consent is refused in a group, that has been attached for
  /// a moment. A virtual function that needs a token is attached by its group or device
  /// (`with_token`).
  /// Requires: the backend has `locate` (tether[B10]). Cost: as an attach of its group or device.
  [[nodiscard]] result<attached_device<container>> attach(endpoint const& device,
                                                          consent agrees = consent::none) noexcept
    requires locates_endpoints<Backend>
  {
    return attach_located(device, agrees, static_cast<unmonitored*>(nullptr));
  }
  /// The same, with a progress monitor.
  template <progress_monitor Monitor>
    requires locates_endpoints<Backend>
  [[nodiscard]] result<attached_device<container>> attach(endpoint const& device, consent agrees,
                                                          Monitor& who) noexcept {
    return attach_located(device, agrees, &who);
  }
  /// Anything else is refused in a sentence (tether[B10], tether[B13]).
  template <class Given, class... Others>
    requires(!std::convertible_to<Given const&, source_type const&> &&
             !(std::same_as<Given, endpoint> && locates_endpoints<Backend>))
  result<attached_device<container>> attach(Given const&, Others&&...) noexcept {
    static_assert(sizeof(detail::refusal_to_attach<Backend, source_type, Given>) != 0);
    return failure(error{"attach", errc::unsupported});
  }

  /// Tears down the kernel object itself, after a rollback has failed. Fails, keeping every hold:
  /// what still prevents it (an outstanding lease, checked before anything is touched); retry when
  /// that is gone. Ensures on success: nothing is attached, mapped or held, and the container can
  /// be reused.
  [[nodiscard]] result<void> abandon() noexcept {
    auto done = this->abandon_all();
    if (!done) done = failure(this->named(done.error()));
    return done;
  }

  // Questions. None waits for an operation or a commit in progress: each is answered as it was when
  // the last one ended, and may be asked from a progress monitor, an observer or a vCPU.

  /// Handles to all that is attached, in the order of the attaches. Fails: may throw
  /// `std::bad_alloc`.
  [[nodiscard]] std::vector<attached> all_attached() {
    if constexpr (of_groups) {
      std::vector<attached> all;
      for (auto const& one : this->every_group()) all.push_back(handle_of(one));
      return all;
    } else {
      return handles_of(this->every_device(0));
    }
  }
  /// The name that it was given; empty if none.
  [[nodiscard]] std::string_view name() const noexcept { return this->name_.view(); }
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
      if (this->published_.lists_complete) [[likely]] {
        std::vector<left_out_section> every;
        every.reserve(this->published_.left_out.size());
        for (auto const& [first, one] : this->published_.left_out) every.push_back(one);
        return every;
      }
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
  /// All of these at one moment, and what is attached: its names, what each holds down. Never
  /// waits. Cost: copies it. Fails: may throw `std::bad_alloc`.
  [[nodiscard]] container_status status() const {
    container_status now{.pins = policies::pins, .forbids = policies::holds};
    this->copy_status(now);
    return now;
  }
  /// The backend, for queries of its own. Do not map or join through it.
  [[nodiscard]] Backend& backend() noexcept { return this->backend_; }
  /// The tracer; it is told by the thread of an operation, under no lock but the operations'.
  using base::tracer;
  [[nodiscard]] auto& observer() noexcept { return this->listener_.observer(); }
  /// Returns `f(observer)`, called under the backend's lock: nothing is mapped or unmapped
  /// meanwhile. Requires: it calls nothing of this container.
  template <class Function>
  decltype(auto) with_observer(Function f) {
    std::lock_guard turn{this->mutex_};
    return f(this->listener_.observer());
  }

 private:
  friend attached_group<container>;
  friend attached_device<container>;
  friend opened_device<container>;

  template <class Monitor>
  result<attached> attach_with(source_type const& what, consent agrees, Monitor* who) noexcept {
    auto ids = base::attach_with(what, agrees, who);
    if (!ids) return failure(this->named(ids.error()));
    return handle_of(*ids);
  }
  attached handle_of(detail::handle_ids ids) noexcept {
    if constexpr (of_groups) return attached{*this, ids.group};
    else return attached{*this, ids.group, ids.device};
  }
  std::vector<opened> handles_of(std::vector<detail::handle_ids> const& ids) {
    std::vector<opened> all;
    for (auto const& one : ids) all.push_back(opened{*this, one.group, one.device});
    return all;
  }

  template <class Monitor>
  result<attached_device<container>> attach_located(endpoint const& device, consent agrees,
                                                    Monitor* who) noexcept {
    auto what = this->backend_.locate(device);
    if (!what) return failure(this->named(what.error()));
    auto ids = base::attach_with(*what, agrees, who);
    if (!ids) return failure(this->named(ids.error()));
    return attached_device<container>{*this, ids->group, ids->device};
  }
};

/// A container that was refused: an error has said why, and whatever is done with it is none.
template <class Backend, class... Policies>
  requires(!valid_configuration<Backend, Policies...>)
class container<Backend, Policies...>
    : public detail::refused_container<container<Backend, Policies...>, Backend, Policies...> {
  // Instantiates the sentence.
  static_assert(sizeof(detail::refusal_of<Backend, Policies...>) != 0);

 public:
  using policies = configuration<Backend, Policies...>;  ///< every slot's policy
  using detail::refused_container<container, Backend, Policies...>::refused_container;
};

}  // namespace tether
