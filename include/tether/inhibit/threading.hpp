// SPDX-License-Identifier: BSL-1.0
// Which threads may use a gate. Chosen once, in the type of the gate, because every container and
// every discarder of a VM shares it; each of them checks that it was built for the same threading.
//
// The lock order of the library. A thread that holds a lock may take those below it:
//
//   1 operation       of a container: one lifecycle operation at a time. Held while it waits for
//                     discards, and while it pins
//   2 gate            its mutex. A permit counts as having it; a hold and a suspension wait for
//                     permits
//   3 topology        the writer's, for a transaction and the commits that announce it; the
//                     readers', while a pointer is copied
//   4 discard state   a balloon's record of incomplete pages; a virtio-mem device's blocks
//   5 container       around every call into its backend; a commit takes it while it holds 3. Who
//                     discards or populates a unit only tries it, for all containers in one order
//   6 backend         private to the backend
//   7 records         of a container: which devices are open, and the figures that it answers with.
//                     Nothing is called under it
//
// There is one exception: a balloon or virtio-mem device that brings a unit back takes a permit (2)
// while it holds its own lock (4). That cannot deadlock: taking a permit never waits, and no thread
// takes a lock of level 4 while it holds the gate's mutex.
//
// So a thread that waits for discards holds 1 and nothing else; the locks that a discard takes (2,
// the readers' part of 3, 4) are never held for long, nor is the one that a vCPU takes to find its
// device or to ask a container (7).
//
// A permit and a hold both write to one word, so a permit costs two atomic operations. In an
// asymmetric gate a permit only stores and loads, and a hold calls membarrier(2): that saves 3 of
// some 5 ns a permit (bench/permit). It is not worth its second path, for kernels and sandboxes
// that deny the call: a permit covers a request of up to 256 pages, which takes 30 us and more.
#pragma once

#include <tether/core/slots.hpp>
#include <tether/core/stop.hpp>
#include <tether/inhibit/detail/reader_indicator.hpp>

#include <concepts>
#include <mutex>
#include <type_traits>

namespace tether {

namespace detail {

/// A no-op lock, where there is only one thread.
struct no_mutex {
  void lock() noexcept {}
  [[nodiscard]] bool try_lock() noexcept { return true; }
  void unlock() noexcept {}
};

template <class Lock>
concept knows_its_holder = requires {
  { Lock::is_held() } noexcept -> std::same_as<bool>;
};
/// A class of its own, as those in `attach/detail/refusals.hpp`.
template <class Lock>
struct lock_that_cannot_tell {
  static_assert(knows_its_holder<Lock>,
                "tether[T3]: the lock of externally_serialised needs 'static bool is_held() "
                "noexcept', true on the thread that holds it");
};

/// Stands for a lock that the caller already holds: it only checks.
template <class Lock>
struct outer_mutex {
  void lock() noexcept {
    if constexpr (knows_its_holder<Lock>) {
      if (!Lock::is_held())
        stop(
            "tether[T2]: a gate that is serialised by an outer lock was used without that lock "
            "being held");
    }
  }
  [[nodiscard]] bool try_lock() noexcept {
    lock();
    return true;
  }
  void unlock() noexcept {}
};

/// `standard_parts` with another mutex.
template <class Mutex>
struct parts_with : standard_parts {
  using mutex = Mutex;
};

/// The gate, as what has been built for `Threading` needs it. Any other is refused.
template <class Threading, template <class> class Gate, class Of>
Gate<Threading>& same_threading(Gate<Of>& gate) noexcept {
  static_assert(std::is_same_v<Of, Threading>,
                "tether[T1]: this container, balloon or page reporting and its gate were built for "
                "different threading: give it the gate's ('container<Backend, ..., "
                "single_threaded>'; 'balloon reports{guest, gate}' finds it by itself)");
  if constexpr (std::is_same_v<Of, Threading>) return gate;
  else return reinterpret_cast<Gate<Threading>&>(gate);  // never reached: refused above
}

}  // namespace detail

/// Everything that touches the gate runs on one thread. No atomic, no lock.
struct single_threaded {
  using slot = threading_slot;
  static constexpr bool checks_outer_lock = false;
  using mutex = detail::no_mutex;
  using reader_indicator = detail::plain_reader_indicator;
};

/// Discards, attaches and readers come from any thread. The default.
struct multi_threaded {
  using slot = threading_slot;
  static constexpr bool checks_outer_lock = false;
  using mutex = std::mutex;
  using reader_indicator = detail::shared_reader_indicator;
};

/// As `multi_threaded`, with the user's mutex type: one that counts, traces, or checks the order
/// above.
/// Minimal: `Mutex` can be default constructed, locked, tried and unlocked, as `std::mutex`.
template <class Mutex>
struct multi_threaded_with {
  using slot = threading_slot;
  static constexpr bool checks_outer_lock = false;
  using mutex = Mutex;
  using reader_indicator = detail::basic_shared_reader_indicator<detail::parts_with<Mutex>>;
};

/// The VMM holds a lock of its own around every call, as QEMU's big lock (BQL). tether adds no lock
/// and checks that this one is held.
/// Minimal: `static bool Lock::is_held() noexcept`, true on the thread that holds it.
template <class Lock>
struct externally_serialised {
  static_assert(sizeof(detail::lock_that_cannot_tell<Lock>) != 0);

  using slot = threading_slot;
  static constexpr bool checks_outer_lock = true;
  using mutex = detail::outer_mutex<Lock>;
  using reader_indicator = detail::plain_reader_indicator;
};

}  // namespace tether
