// SPDX-License-Identifier: BSL-1.0
// Progress and cancellation of one attach: pinning a large guest takes seconds, so each piece is
// reported and the attach can be cancelled (law 27). A cancelled attach is a failed attach: it is
// rolled back.
#pragma once

#include <tether/core/error.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/stop_token.hpp>
#include <tether/topology/memory_listener.hpp>
#include <tether/topology/section.hpp>

#include <concepts>
#include <stop_token>
#include <utility>

namespace tether {

/// A progress monitor. Called before each piece is mapped; false ends the attach with
/// `operation_canceled`.
template <class A>
concept progress_monitor = requires(A& who, mapping const& piece) {
  { who.keep_going(piece) } noexcept -> std::same_as<bool>;
};

/// No progress monitor; costs nothing.
struct unmonitored {
  [[nodiscard]] static constexpr bool keep_going(mapping const&) noexcept { return true; }
};

/// Reports to a function of the user's, `void(mapping const&) noexcept`, and cancels by a stop
/// token.
template <class Progress>
class monitored {
 public:
  /// Stops when `stop` is requested; tells `progress` of each piece.
  explicit monitored(std::stop_token stop, Progress progress)
      : stop_{std::move(stop)}, progress_{std::move(progress)} {}

  [[nodiscard]] bool keep_going(mapping const& piece) noexcept {
    if (stop_.stop_requested()) return false;
    progress_(piece);
    return true;
  }
  /// A stop request also ends the wait for discards in progress.
  [[nodiscard]] std::stop_token const* stop() const noexcept { return &stop_; }

 private:
  std::stop_token stop_;
  Progress progress_;
};

namespace detail {

/// Forwards a replay to a listener, with a progress monitor.
template <class Listener, progress_monitor Monitor>
struct monitored_replay {
  Listener& listener;
  Monitor& who;

  void begin(commit_kind kind) noexcept { listener.begin(kind); }
  void remove(section const& one) noexcept { listener.remove(one); }
  void add(section const& one) noexcept { listener.add(one); }
  [[nodiscard]] result<void> commit() noexcept { return listener.commit_monitored(who); }
};

}  // namespace detail

}  // namespace tether
