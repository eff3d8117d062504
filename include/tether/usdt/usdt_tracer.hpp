// SPDX-License-Identifier: BSL-1.0
// A tracer whose events are static probes of the provider `tether`: instructions that do nothing
// until somebody attaches to them, in a program that runs. Strings are zero-terminated.
//
//     begins       operation, who, container
//     step_begins  operation, step, who
//     step_ends    operation, step, who, outcome, nanoseconds, 1 if it rolls back
//     holds        holder, how many it has now, 1 if each forbids every discard (0: uncoordinated)
//     ends         operation, who, ending, errno or tether's own number of the cause (0: none)
#pragma once

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/attach/lifecycle/steps.hpp>
#include <tether/attach/tracing.hpp>
#include <tether/core/error.hpp>
#include <tether/core/slots.hpp>
#include <tether/inhibit/kinds.hpp>

#include <cstdint>
#include <string_view>
#include <type_traits>

#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#endif

namespace tether {

#ifdef STAP_PROBE3

/// The tracer. Alone, or beside others: `observers<usdt_tracer, yours>`.
/// Cost: of a probe that nobody listens to, one instruction that does nothing, and its arguments.
struct usdt_tracer {
  using slot = tracing_slot;

  void traced(trace_event const& what) noexcept {
    [[maybe_unused]] const char* const doing = text_of(what.doing);
    [[maybe_unused]] const char* const step = text_of(what.step);
    [[maybe_unused]] const char* const who = text(what.device.empty() ? what.group : what.device);
    switch (what.where) {
      case trace_point::begins:
        STAP_PROBE3(tether, begins, doing, who, text(what.container));
        break;
      case trace_point::step_begins: STAP_PROBE3(tether, step_begins, doing, step, who); break;
      case trace_point::step_ends:
        STAP_PROBE6(tether, step_ends, doing, step, who, text_of(what.how), what.took,
                    static_cast<int>(what.rolls_back));
        break;
      case trace_point::holds:
        STAP_PROBE3(tether, holds, text(what.holder), what.holds,
                    static_cast<int>(what.forbids == hold_kind::any));
        break;
      case trace_point::ends:
        STAP_PROBE4(tether, ends, doing, who, text_of(what.ended),
                    what.why == nullptr ? 0 : what.why->code().value());
        break;
    }
  }

 private:
  /// Names in an event are zero-terminated; one that is empty may have no text at all.
  static const char* text(std::string_view name) noexcept {
    return name.empty() ? "" : name.data();
  }
};

#else

namespace detail {

/// This header alone may be read anywhere; a program that makes one of these is refused, by its
/// constructor: a class that has failed would be refused by everything that takes it as well.
template <class Slot>
struct tracer_without_probes {
  using slot = Slot;
  tracer_without_probes() noexcept {
    static_assert(!std::is_same_v<Slot, tracing_slot>,
                  "tether[U1]: usdt_tracer needs <sys/sdt.h>: install systemtap-sdt-dev");
  }
  void traced(trace_event const&) noexcept {}
};

}  // namespace detail

using usdt_tracer = detail::tracer_without_probes<tracing_slot>;

#endif

}  // namespace tether
