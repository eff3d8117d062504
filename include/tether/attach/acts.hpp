// SPDX-License-Identifier: BSL-1.0
// What each act of a plan does for real. No order is written here: `run` unfolds the plan that `lifecycle.hpp`
// holds as data, one function instance for each step, so that no table, switch or loop is left of it.
#pragma once

#include <tether/attach/lifecycle.hpp>
#include <tether/attach/records.hpp>
#include <tether/backend/concepts.hpp>
#include <tether/core/error.hpp>
#include <tether/inhibit/books.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/listen/attendant.hpp>
#include <tether/listen/dma_listener.hpp>
#include <tether/topology/address_space.hpp>

#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <utility>

namespace tether::detail {

/// Passes a replay on to a listener, with someone who watches.
template <class Listener, attendant Attendant>
struct attended_replay {
  Listener& listener;
  Attendant& who;

  void begin(commit_kind kind) noexcept { listener.begin(kind); }
  void remove(section const& one) noexcept { listener.remove(one); }
  void add(section const& one) noexcept { listener.add(one); }
  [[nodiscard]] result<void> commit() noexcept { return listener.commit_attended(who); }
};

/// One operation in progress: what it works on, and the first thing that went wrong.
template <class Backend, class Inhibition, class Attendant = unattended>
struct task {
  group_record<Backend, Inhibition>& group;
  typename Backend::group_type const* description = nullptr;
  device_record<Backend>* device = nullptr;
  consent agrees = consent::none;
  Attendant* who = nullptr;
  std::optional<error> first_error{};

  [[gnu::always_inline]] step_outcome end(result<void> const& done) noexcept {
    if (done) [[likely]] return step_outcome::done;
    if (!first_error) first_error = done.error();
    return done.error().stuck() ? step_outcome::stuck : step_outcome::failed;
  }
};

/// A container's state, and the acts on it.
template <class Backend, class Configuration>
class acts {
 public:
  using inhibition = typename Configuration::inhibition;
  using threading = typename Configuration::threading;
  using lifecycle = typename Configuration::lifecycle;
  using gate_type = discard_gate<threading>;
  using record = group_record<Backend, inhibition>;
  using listener_type = dma_listener<Backend, typename Configuration::granularity, typename Configuration::edges,
                                     typename Configuration::observation, typename threading::mutex>;

  acts(address_space& space, gate_type& gate, Backend&& backend) noexcept
      : space_{space}, gate_{gate}, backend_{std::move(backend)}, listener_{backend_, mutex_} {}

  /// Runs the rest of a plan from `At`.
  template <cursor At, class Task>
  [[gnu::always_inline]] ending run(Task& task) noexcept {
    if constexpr (At.ended != ending::none) {
      return At.ended;
    } else {
      constexpr act now = act_at<lifecycle>(At);
      const step_outcome how = perform<now, lifecycle::plan_of(At.in).makes>(task);
      if constexpr (can_fail(now)) {
        constexpr cursor if_failed = advance<lifecycle>(At, step_outcome::failed);
        constexpr cursor if_stuck = advance<lifecycle>(At, step_outcome::stuck);
        if constexpr (if_failed != if_stuck) {
          if (how == step_outcome::stuck) [[unlikely]] return run<if_stuck>(task);
        }
        if (how != step_outcome::done) [[unlikely]] return run<if_failed>(task);
      }
      return run<advance<lifecycle>(At, step_outcome::done)>(task);
    }
  }

  template <act Now, change Makes, class Task>
  [[gnu::always_inline]] step_outcome perform(Task& task) noexcept {
    if constexpr (Now == act::judge) return task.end(judge(task));
    else if constexpr (Now == act::hold) return task.end(hold_for<Makes>(task));
    else if constexpr (Now == act::settle) settle(task.group);
    else if constexpr (Now == act::join) return task.end(join(task));
    else if constexpr (Now == act::leave) return task.end(leave(task));
    else if constexpr (Now == act::replay) return task.end(replay(task));
    else if constexpr (Now == act::withdraw) return task.end(withdraw());
    else if constexpr (Now == act::open) return task.end(open(task));
    else if constexpr (Now == act::close) return task.end(close(task));
    else if constexpr (Now == act::commit) enact(tally_, task.group.tally, Makes, task.agrees);
    return step_outcome::done;
  }

  /// Lowers the holds to what the books need now. Where they are that already, the gate and its lock are left alone.
  [[gnu::always_inline]] void settle(record& of) noexcept {
    if constexpr (holds_for_a_group<inhibition>) lower_to(of.held, holds_needed<inhibition>(of.tally));
    if constexpr (holds_for_a_container<inhibition>) lower_to(held_, holds_needed<inhibition>(tally_));
  }

 protected:
  template <class Task>
  [[gnu::always_inline]] result<void> judge(Task& task) noexcept {
    auto pins = backend_.classify(*task.group.joined, task.device->name);
    if (!pins) return failure(pins.error());
    if (task.agrees == consent::given && *pins != pin_class::pins_on_demand) {
      return failure(error{"open device", errc::consent_refused}.of(task.device->name).advise("open it without agrees_to_discards"));
    }
    container_tally container = tally_;
    group_tally after = task.group.tally;
    enact(container, after, change::open, task.agrees);
    if (!admitted<inhibition>(after)) {
      const error why{"open device", errc::mixed_group};
      return failure(why.of(task.device->name).advise("choose inhibit_per_device, or open all devices of the group alike"));
    }
    return {};
  }

  /// Raises the holds to what the books will need; nothing is raised if that is refused.
  template <change Makes, class Task>
  [[gnu::always_inline]] result<void> hold_for(Task& task) noexcept {
    [[maybe_unused]] container_tally container = tally_;
    [[maybe_unused]] group_tally after = task.group.tally;
    enact(container, after, Makes, task.agrees);
    if constexpr (holds_for_a_group<inhibition>) {
      if (auto done = raise_to(task.group.held, holds_needed<inhibition>(after), patience_of(task)); !done) return done;
    }
    if constexpr (holds_for_a_container<inhibition>) {
      if (auto done = raise_to(held_, holds_needed<inhibition>(container), patience_of(task)); !done) {
        settle(task.group);
        return done;
      }
    }
    return {};
  }
  [[gnu::always_inline]] result<void> raise_to(holder& entry, std::uint32_t needed, patience const& how) noexcept {
    return needed > entry.count() ? gate_.raise(entry, Configuration::holds, needed - entry.count(), how) : result<void>{};
  }
  [[gnu::always_inline]] void lower_to(holder& entry, std::uint32_t needed) noexcept {
    if (entry.count() != needed) gate_.lower(entry, entry.count() - needed);
  }
  /// Whoever watches an attach can also end its wait for discards that are under way.
  template <class Task>
  [[gnu::always_inline]] static patience patience_of([[maybe_unused]] Task const& task) noexcept {
    if constexpr (requires { task.who->stop(); }) {
      if (task.who != nullptr) return {.stop = task.who->stop()};
    }
    return {};
  }

  template <class Task>
  [[gnu::always_inline]] result<void> join(Task& task) noexcept {
    std::lock_guard turn{mutex_};
    auto joined = backend_.join(*task.description);
    if (!joined) return failure(joined.error());
    task.group.joined.emplace(std::move(*joined));
    return {};
  }
  template <class Task>
  [[gnu::always_inline]] result<void> leave(Task& task) noexcept {
    std::lock_guard turn{mutex_};
    auto left = backend_.leave(*task.group.joined);
    if (left) task.group.joined.reset();
    return left;
  }

  template <class Task>
  [[gnu::always_inline]] result<void> replay(Task& task) noexcept {
    if (task.who == nullptr) return space_.add_listener(listener_);
    attended_replay<listener_type, std::remove_pointer_t<decltype(task.who)>> watched{listener_, *task.who};
    return space_.add_listener(listener_, 0, watched);
  }
  /// No device is open any more, so DMA that has ended cannot begin again before everything is unmapped.
  [[gnu::always_inline]] result<void> withdraw() noexcept {
    if (auto still = quiesce(); !still) return still;
    auto gone = space_.remove_listener(listener_);
    if (!gone) [[unlikely]] return failure(gone.error().leaving_things_behind());
    return {};
  }
  [[gnu::always_inline]] result<void> quiesce() noexcept {
    std::lock_guard turn{mutex_};
    return backend_.quiesce();
  }

  template <class Task>
  [[gnu::always_inline]] result<void> open(Task& task) noexcept {
    std::lock_guard turn{mutex_};
    auto device = backend_.open(*task.group.joined, task.device->name);
    if (!device) return failure(device.error());
    task.device->device.emplace(std::move(*device));
    return {};
  }
  template <class Task>
  [[gnu::always_inline]] result<void> close(Task& task) noexcept {
    std::lock_guard turn{mutex_};
    return backend_.close(*task.device->device);
  }

  address_space& space_;
  gate_type& gate_;
  Backend backend_;
  [[no_unique_address]] mutable typename threading::mutex operation_;  // one lifecycle operation at a time; taken first of all
  [[no_unique_address]] mutable typename threading::mutex mutex_;      // around everything that the backend is asked; taken last
  listener_type listener_;
  container_tally tally_{};
  [[no_unique_address]] holder_if<holds_for_a_container<inhibition>> held_{"container"};
  std::list<record> groups_;
  std::uint64_t next_id_ = 1;
};

}  // namespace tether::detail
