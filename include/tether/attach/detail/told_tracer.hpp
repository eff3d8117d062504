// SPDX-License-Identifier: BSL-1.0
// Tells a container's tracer what is done. Without a tracer nothing of it remains: no call, no
// clock and no byte.
#pragma once

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/attach/lifecycle/steps.hpp>
#include <tether/attach/tracing.hpp>
#include <tether/core/error.hpp>
#include <tether/inhibit/concepts.hpp>
#include <tether/inhibit/detail/hold_entry.hpp>
#include <tether/inhibit/kinds.hpp>

#include <cstdint>
#include <ctime>
#include <string_view>
#include <type_traits>

namespace tether::detail {

/// Nanoseconds of a clock that nobody sets.
[[nodiscard]] inline std::uint64_t monotonic_now() noexcept {
  std::timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(now.tv_nsec);
}

/// False for what holds and mappings need, where nothing is held, or pinned.
template <class Backend, class Inhibition>
[[nodiscard]] constexpr bool does_something(act step) noexcept {
  if (step == act::raise_holds || step == act::lower_holds)
    return holds_for_a_group<Inhibition> || holds_for_a_container<Inhibition>;
  return step != act::populate || Backend::pins;
}

template <class Tracer>
class told_tracer {
 public:
  static constexpr bool told = !std::is_same_v<Tracer, no_tracing>;

  [[nodiscard]] Tracer& tracer() noexcept { return tracer_; }

  /// Runs a whole operation, which answers its ending.
  template <operation Doing, class Task, class Run>
  [[gnu::always_inline]] ending tell_of(Task& task, std::string_view container, Run run) noexcept {
    if constexpr (!told) return run();
    else {
      auto event = event_of(Doing, task, container);
      tracer_.traced(event);
      event.ended = run();
      event.where = trace_point::ends;
      if (event.ended != ending::finished) event.why = &*task.first_error;
      tracer_.traced(event);
      return event.ended;
    }
  }
  /// Runs one step, which answers its outcome; told only if it does something.
  template <cursor At, act Now, bool DoesSomething, class Task, class Run>
  [[gnu::always_inline]] outcome tell_step(Task& task, std::string_view container,
                                           Run run) noexcept {
    if constexpr (!told || !DoesSomething) return run();
    else {
      auto event = event_of(At.in, task, container);
      event.where = trace_point::step_begins;
      event.step = Now;
      event.rolls_back = At.backward;
      tracer_.traced(event);
      const std::uint64_t begin = monotonic_now();
      event.how = run();
      event.took = monotonic_now() - begin;
      event.where = trace_point::step_ends;
      if (event.how != outcome::done && !At.backward) event.why = &*task.first_error;
      tracer_.traced(event);
      return event.how;
    }
  }
  /// An entry of the gate has been raised or lowered.
  void tell_holds([[maybe_unused]] hold_entry const& entry, [[maybe_unused]] hold_kind forbids,
                  [[maybe_unused]] std::string_view container) noexcept {
    if constexpr (told)
      tracer_.traced({.where = trace_point::holds,
                      .container = container,
                      .holder = entry.name(),
                      .holds = entry.count(),
                      .forbids = forbids});
  }

 private:
  template <class Task>
  [[nodiscard]] static trace_event event_of(operation doing, Task const& task,
                                            std::string_view container) noexcept {
    return {.doing = doing,
            .container = container,
            .group = task.group.name,
            .device = task.device == nullptr ? std::string_view{} : task.device->name};
  }

  [[no_unique_address]] Tracer tracer_{};
};

}  // namespace tether::detail
