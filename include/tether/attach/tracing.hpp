// SPDX-License-Identifier: BSL-1.0
// Tracers of what a container does on the attach side: the slot `tracing_slot`. A tracer is told of
// each operation as it goes, step by step; none costs nothing.
//
//     attach 'nics' in container 'vm': begins
//     attach 'nics' in container 'vm': take hold begins    <- it may wait for discards from here
//     'nics' in container 'vm' holds 1: every discard is inhibited
//     attach 'nics' in container 'vm': take hold done after 181 us
//     attach 'nics' in container 'vm': join begins
//     ...
//     attach 'nics' in container 'vm': ends, finished
//
// A step that does nothing in a configuration is not told: with a backend that pins nothing there
// are no holds. Where an operation needs none more, `take hold` is told, and no `holds` in it.
#pragma once

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/attach/lifecycle/steps.hpp>
#include <tether/core/detail/quoted.hpp>
#include <tether/core/error.hpp>
#include <tether/core/slots.hpp>
#include <tether/inhibit/kinds.hpp>
#include <tether/listen/observers.hpp>

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace tether {

/// Where an operation is.
enum class trace_point : std::uint8_t {
  begins,       ///< it was found possible, and its plan begins
  step_begins,  ///< a step of it
  step_ends,    ///< as `how` says, after `took`; the first that failed has `why`
  holds,        ///< `holder` now has `holds` in the gate, more or fewer than before
  ends,         ///< as `ended` says; unless that is `finished`, `why` says why
};

/// One event. What is not meant by `where` is as here. Names and the error are valid only while the
/// tracer is called; a name that is not empty is zero-terminated.
struct trace_event {
  trace_point where = trace_point::begins;    ///< what has happened
  operation doing = operation::attach_first;  ///< the operation that it is a part of
  act step = act::nothing;                    ///< the step that begins or ends
  bool rolls_back = false;       ///< the step belongs to the rollback of those before it
  outcome how = outcome::done;   ///< how the step has ended
  ending ended = ending::none;   ///< how the operation has ended
  std::uint64_t took = 0;        ///< nanoseconds, of a clock that stands still while suspended
  std::string_view container{};  ///< its name, or what was attached to it longest ago
  std::string_view group{};      ///< the group, or the single device's IOMMU group
  std::string_view device{};     ///< empty where it is about a group
  std::string_view holder{};     ///< as the gate lists it
  std::uint32_t holds = 0;       ///< how many it has now
  hold_kind forbids = hold_kind::any;  ///< what each of these forbids
  error const* why = nullptr;          ///< what went wrong; null if nothing has
};

/// A tracer.
/// Minimal: `using slot = tether::tracing_slot`; default constructible; `traced(trace_event const&)
/// noexcept`. Is told by the thread whose operation it is, one operation of a container at a time.
/// Holds of a container that is abandoned change without an operation.
/// Requires: it attaches, detaches, opens and closes nothing, and takes no hold. It may ask
/// questions.
/// Models: `no_tracing`, `observers<...>` of several.
template <class T>
concept tracing = policy<T> && std::same_as<typename T::slot, tracing_slot> &&
                  std::default_initializable<T> && requires(T& who, trace_event const& what) {
                    { who.traced(what) } noexcept;
                  };

/// No tracer. The default; costs nothing.
struct no_tracing {
  using slot = tracing_slot;
  constexpr void traced(trace_event const&) noexcept {}  ///< does nothing
};

/// What an operation is called, whether it is the first or the last of its kind, or not.
[[nodiscard]] constexpr const char* text_of(operation what) noexcept {
  switch (what) {
    case operation::attach_first:
    case operation::attach_next: return "attach";
    case operation::open: return "open";
    case operation::close: return "close";
    case operation::detach_next:
    case operation::detach_last: return "detach";
  }
  return "";
}
/// What a step is called.
[[nodiscard]] constexpr const char* text_of(act what) noexcept {
  constexpr const char* texts[act_count]{
      "nothing", "judge",    "take hold",  "release hold", "populate", "acquire",
      "release", "tell KVM", "untell KVM", "join",         "leave",    "map",
      "unmap",   "open",     "bind",       "close",        "commit"};
  return texts[static_cast<std::uint8_t>(what)];
}
/// How a step has ended.
[[nodiscard]] constexpr const char* text_of(outcome how) noexcept {
  return how == outcome::done ? "done" : how == outcome::failed ? "failed" : "stuck";
}
/// How an operation has ended.
[[nodiscard]] constexpr const char* text_of(ending how) noexcept {
  constexpr const char* texts[]{"in progress", "finished", "rolled back", "diverged"};
  return texts[static_cast<std::uint8_t>(how)];
}

/// An event as one line, without its end. A container called by what is attached, because it
/// has no name, is not named twice. Cost: allocates. Fails: may throw `std::bad_alloc`.
[[nodiscard]] inline std::string text_of(trace_event const& of) {
  std::string text;
  const auto quoted = [&](std::string_view name) { detail::append_quoted(text, name); };
  const auto in_container = [&](std::string_view whose) {
    if (of.container.empty() || of.container == whose || of.container == of.device) return;
    text.append(" in container ");
    quoted(of.container);
  };
  if (of.where == trace_point::holds) {
    quoted(of.holder);
    in_container(of.holder);
    text.append(" holds ").append(std::to_string(of.holds)).append(": ");
    if (of.holds == 0) return text.append("it inhibits no discard");
    return text.append(of.forbids == hold_kind::any ? "every discard is inhibited"
                                                    : "all but coordinated discards are inhibited");
  }
  text.append(text_of(of.doing)).append(" ");
  quoted(of.device.empty() ? of.group : of.device);
  in_container(of.group);
  text.append(": ");
  if (of.rolls_back) text.append("rolling back: ");
  switch (of.where) {
    case trace_point::begins: text.append("begins"); break;
    case trace_point::step_begins: text.append(text_of(of.step)).append(" begins"); break;
    case trace_point::step_ends:
      text.append(text_of(of.step)).append(" ").append(text_of(of.how)).append(" after ");
      text.append(std::to_string(of.took / 1000)).append(" us");
      break;
    case trace_point::ends: text.append("ends, ").append(text_of(of.ended)); break;
    case trace_point::holds: break;
  }
  if (of.why != nullptr) text.append(": ").append(of.why->sentence());
  return text;
}

namespace detail {

template <class... Parts>
class tracers_of : public observers_of<Parts...> {
 public:
  /// Not there where one could not fill the slot alone, and the container refuses that.
  constexpr void traced(trace_event const& what) noexcept
    requires(... && bool{tracing<Parts>})
  {
    this->for_each([&](auto& one) noexcept { one.traced(what); });
  }
};
template <class... Parts>
struct observers_for<tracing_slot, Parts...> {
  using type = tracers_of<Parts...>;
};

}  // namespace detail

}  // namespace tether
