// SPDX-License-Identifier: BSL-1.0
// What each act of a plan does. The order is not here: `run` unrolls, at compile time, the plan
// that `lifecycle/plans.hpp` holds as data, one function instance per step: no table, switch or
// loop remains.
#pragma once

#include <tether/attach/detail/container_state.hpp>
#include <tether/attach/detail/tasks.hpp>
#include <tether/attach/lifecycle/plans.hpp>
#include <tether/attach/lifecycle/steps.hpp>
#include <tether/backend/concepts.hpp>
#include <tether/core/detail/locked_memory.hpp>
#include <tether/core/error.hpp>
#include <tether/core/stop.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/detail/hold_entry.hpp>
#include <tether/inhibit/detail/reader_indicator.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/listen/observation.hpp>
#include <tether/listen/progress.hpp>

#include <cstdint>
#include <mutex>
#include <string_view>
#include <type_traits>

namespace tether::detail {

/// The acts on a container's state.
template <class Backend, class Configuration>
class executor : public container_state<Backend, Configuration> {
  using state = container_state<Backend, Configuration>;
  using lifecycle = typename Configuration::lifecycle;

 public:
  using inhibition = typename state::inhibition;
  using record = typename state::record;
  using listener_type = typename state::listener_type;
  using state::state;

  /// Runs the rest of a plan from `At`.
  template <cursor At, class Task>
  [[gnu::always_inline]] ending run(Task& task) noexcept {
    if constexpr (At.ended != ending::none) {
      return At.ended;
    } else {
      constexpr act now = act_at<lifecycle>(At);
      constexpr bool is_told = does_something<Backend, inhibition>(now);
      const outcome how =
          this->template tell_step<At, now, is_told>(task, listener_.name(), [&]() noexcept {
            return perform<now, lifecycle::plan_of(At.in).makes>(task);
          });
      if constexpr (can_fail(now)) {
        constexpr cursor if_failed = advance<lifecycle>(At, outcome::failed);
        constexpr cursor if_stuck = advance<lifecycle>(At, outcome::stuck);
        if constexpr (if_failed != if_stuck) {
          if (how == outcome::stuck) [[unlikely]]
            return run<if_stuck>(task);
        }
        if (how != outcome::done) [[unlikely]]
          return run<if_failed>(task);
      }
      return run<advance<lifecycle>(At, outcome::done)>(task);
    }
  }

  /// The whole of a plan.
  template <operation Doing, class Task>
  [[gnu::always_inline]] ending carry_out(Task& task) noexcept {
    return this->template tell_of<Doing>(task, listener_.name(),
                                         [&]() noexcept { return run<cursor{Doing}>(task); });
  }
  /// The first to attach maps, and the last to detach unmaps. Who finds the listener at work
  /// meanwhile is told `name`.
  template <class Task>
  ending run_attach(Task& task, std::string_view name) noexcept {
    if (counts_.members != 0) return carry_out<operation::attach_next>(task);
    this->call_listener(name);
    const ending end = carry_out<operation::attach_first>(task);
    if (end == ending::rolled_back) this->call_listener({});
    return end;
  }
  template <class Task>
  ending run_detach(Task& task, bool last) noexcept {
    return last ? carry_out<operation::detach_last>(task) : carry_out<operation::detach_next>(task);
  }

  template <act Now, change Makes, class Task>
  outcome perform(Task& task) noexcept {
    if constexpr (Now == act::judge) return task.end(judge<Makes>(task));
    else if constexpr (Now == act::raise_holds) return task.end(raise_holds<Makes>(task));
    else if constexpr (Now == act::lower_holds) lower_holds(task.group);
    else if constexpr (Now == act::populate) return task.end(populate());
    else if constexpr (Now == act::acquire) return task.end(acquire(task));
    else if constexpr (Now == act::release) task.release();
    else if constexpr (Now == act::add_to_kvm)
      return task.end(kvm_.add(task.kvm_file(), task.kvm_name()));
    else if constexpr (Now == act::remove_from_kvm)
      return task.end(kvm_.remove(task.kvm_file(), task.kvm_name()));
    else if constexpr (Now == act::join) return task.end(join(task));
    else if constexpr (Now == act::leave) return task.end(leave(task));
    else if constexpr (Now == act::replay) return task.end(replay(task));
    else if constexpr (Now == act::withdraw) return task.end(withdraw());
    else if constexpr (Now == act::open) return task.end(open(task));
    else if constexpr (Now == act::bind) return task.end(bind(task));
    else if constexpr (Now == act::close) return task.end(close(task));
    else if constexpr (Now == act::commit)
      apply_change(counts_, task.group.counts, Makes, task.agrees);
    return outcome::done;
  }

  /// Lowers the holds to what is needed for the counts as they are. If they are that low already,
  /// the gate and its lock are not touched.
  void lower_holds(record& of) noexcept {
    if constexpr (holds_for_a_group<inhibition>)
      lower_to(of.held, holds_needed<inhibition>(of.counts));
    if constexpr (holds_for_a_container<inhibition>)
      lower_to(held_, holds_needed<inhibition>(counts_));
  }

 protected:
  using state::backend_, state::counts_, state::gate_, state::held_, state::kvm_, state::listener_;
  using state::mutex_, state::space_;

  /// The counts as they will be once the operation has committed.
  template <change Makes, class Task>
  [[nodiscard]] membership after(Task const& task) const noexcept {
    return after_change({counts_, task.group.counts}, Makes, task.agrees);
  }

  template <change Makes, class Task>
  result<void> judge(Task& task) noexcept {
    auto pins = task.classify(backend_);
    if (!pins) return failure(pins.error());
    switch (tether::judge<inhibition>(after<Makes>(task).group, task.agrees, *pins)) {
      case verdict::allowed: break;
      case verdict::consent_refused: return failure(refused_consent(task.device->name));
      case verdict::mixed_group: return failure(refused_mixture(task.device->name));
    }
    return {};
  }

  /// Raises the holds to what will be needed for the counts after the change; if refused, none is
  /// raised.
  template <change Makes, class Task>
  result<void> raise_holds(Task& task) noexcept {
    [[maybe_unused]] const membership then = after<Makes>(task);
    if constexpr (holds_for_a_group<inhibition>) {
      if (auto done =
              raise_to(task.group.held, holds_needed<inhibition>(then.group), wait_limits_of(task));
          !done)
        return done;
    }
    if constexpr (holds_for_a_container<inhibition>) {
      if (auto done =
              raise_to(held_, holds_needed<inhibition>(then.container), wait_limits_of(task));
          !done) {
        lower_holds(task.group);
        return done;
      }
    }
    return {};
  }
  template <class Limits>
  result<void> raise_to(hold_entry& entry, std::uint32_t needed, Limits const& how) noexcept {
    if (needed <= entry.count()) return {};
    if (auto raised = gate_.raise(entry, Configuration::holds, needed - entry.count(), how);
        !raised) [[unlikely]]
      return raised;
    this->tell_holds(entry, Configuration::holds, listener_.name());
    return {};
  }
  void lower_to(hold_entry& entry, std::uint32_t needed) noexcept {
    if (entry.count() > needed) {
      gate_.lower(entry, entry.count() - needed);
      this->tell_holds(entry, Configuration::holds, listener_.name());
    } else if (entry.count() < needed) [[unlikely]] {
      stop(
          "tether[I15]: an inhibition policy needs more holds now than were taken for it: closing "
          "and detaching can take none");
    }
  }
  /// A progress monitor can also cancel an attach's wait for discards in progress.
  template <class Task>
  static auto wait_limits_of([[maybe_unused]] Task const& task) noexcept {
    if constexpr (requires { task.who->stop(); })
      return wait_unless_stopped{task.who == nullptr ? nullptr : task.who->stop()};
    else return wait_limits{};
  }

  /// Under the hold: what is mapped read-only is present, and stays so.
  result<void> populate() noexcept {
    if constexpr (Backend::pins) {
      std::lock_guard turn{mutex_.quiet()};
      return listener_.populate_read_only();
    }
    return {};
  }

  // Calls into the backend, under its lock.
  template <class Task>
  result<void> acquire(Task& task) noexcept {
    std::lock_guard turn{mutex_.quiet()};
    return task.acquire(backend_);
  }
  template <class Task>
  result<void> join(Task& task) noexcept {
    std::lock_guard turn{mutex_};
    auto joined = task.join(backend_);
    tell_who_pins();
    if (!joined) [[unlikely]]
      joined = failure(with_all_that_is_mapped(joined.error()));
    return joined;
  }
  /// A join pins all that is mapped at once, of which its error may know nothing.
  [[gnu::cold]] error with_all_that_is_mapped(error const& why) const noexcept {
    return counts_locked_memory(why) && !why.has_extent()
               ? why.with_more(listener_.usage().bytes / KiB)
               : why;
  }
  template <class Task>
  result<void> leave(Task& task) noexcept {
    std::lock_guard turn{mutex_};
    auto left = task.template leave<state::tells_kvm>(backend_);
    tell_who_pins();
    return left;
  }
  template <class Task>
  result<void> open(Task& task) noexcept {
    if constexpr (may_pin_at_open<Backend>) {
      std::lock_guard turn{mutex_};
      auto opened = task.open(backend_);
      tell_who_pins();
      return opened ? opened : failure(with_all_that_is_mapped(opened.error()));
    } else {
      std::lock_guard turn{mutex_.quiet()};
      return task.open(backend_);
    }
  }
  template <class Task>
  result<void> bind(Task& task) noexcept {
    std::lock_guard turn{mutex_.quiet()};
    return task.bind(backend_);
  }
  template <class Task>
  result<void> close(Task& task) noexcept {
    if constexpr (may_pin_at_open<Backend>) {
      std::lock_guard turn{mutex_};
      auto closed = task.close(backend_);
      tell_who_pins();
      return closed;
    } else {
      std::lock_guard turn{mutex_.quiet()};
      return task.close(backend_);
    }
  }
  result<void> quiesce() noexcept {
    std::lock_guard turn{mutex_.quiet()};
    return backend_.quiesce();
  }

  /// Notifies an observer that has `pinning`. A backend without `pins_now` counts as its constant
  /// `pins` says.
  void tell_who_pins() noexcept {
    if constexpr (requires { listener_.observer().pinning(true); }) {
      if constexpr (reports_pinning<Backend>)
        notify_pinning(listener_.observer(), backend_.pins_now());
      else notify_pinning(listener_.observer(), Backend::pins);
    }
  }

  template <class Task>
  result<void> replay(Task& task) noexcept {
    if (task.who == nullptr) return space_.add_listener(listener_);
    monitored_replay<listener_type, std::remove_pointer_t<decltype(task.who)>> watched{listener_,
                                                                                       *task.who};
    return space_.add_listener(listener_, 0, watched);
  }
  /// Quiesces first, so that no DMA can begin before everything is unmapped: the devices of a group
  /// are closed by now, and a single device must have no BAR mapped.
  result<void> withdraw() noexcept {
    if (auto still = quiesce(); !still) return still;
    auto gone = space_.remove_listener(listener_);
    if (!gone) [[unlikely]]
      return failure(gone.error().with_failed_rollback());
    return {};
  }

  /// What an operation that has ended tells its caller.
  template <class Task>
  [[nodiscard]] result<void> answer(ending how, Task const& task) noexcept {
    if (how == ending::finished) [[likely]]
      return {};
    this->publish_failure(task.group);
    return failure(how == ending::diverged ? this->diverge(*task.first_error) : *task.first_error);
  }
};

}  // namespace tether::detail
