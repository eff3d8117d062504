// SPDX-License-Identifier: BSL-1.0
// Which threads may come to the gate. Chosen once, at the gate, because every container and every
// discarder of a VM shares it; each of them checks that it was built for the same.
#pragma once

#include <tether/core/policies.hpp>
#include <tether/core/stop.hpp>
#include <tether/inhibit/turnstile.hpp>

#include <concepts>
#include <mutex>

namespace tether {

namespace detail {

/// A lock that costs nothing, where nobody else can come.
struct no_mutex {
  void lock() noexcept {}
  void unlock() noexcept {}
};

/// A lock that is already held by someone outside: it only checks.
template <class Lock>
struct outer_mutex {
  void lock() noexcept {
    if (!Lock::is_held()) stop("tether[T2]: a gate that is serialised by an outer lock was used without that lock being held");
  }
  void unlock() noexcept {}
};

}  // namespace detail

/// Everything that touches the gate runs on one thread. No atomic, no lock.
struct single_threaded {
  using slot = threading_slot;
  static constexpr bool checks_outer_lock = false;
  using mutex = detail::no_mutex;
  using turnstile = detail::plain_turnstile;
};

/// Discards, attaches and readers come from any thread. The default.
struct multi_threaded {
  using slot = threading_slot;
  static constexpr bool checks_outer_lock = false;
  using mutex = std::mutex;
  using turnstile = detail::shared_turnstile;
};

/// A lock of the VMM's own is held around every call, as QEMU's big lock is. tether adds none and checks that one.
/// Minimal: `static bool Lock::is_held() noexcept`, true on the thread that holds it.
template <class Lock>
  requires requires {
    { Lock::is_held() } noexcept -> std::same_as<bool>;
  }
struct externally_serialised {
  using slot = threading_slot;
  static constexpr bool checks_outer_lock = true;
  using mutex = detail::outer_mutex<Lock>;
  using turnstile = detail::plain_turnstile;
};

}  // namespace tether
