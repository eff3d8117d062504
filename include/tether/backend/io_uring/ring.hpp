// SPDX-License-Identifier: BSL-1.0
// One io_uring with a table of fixed buffers. A buffer in the table is pinned by the kernel as VFIO
// pins (FOLL_LONGTERM); I/O between such a buffer and a scratch file is a DMA engine that reaches
// the *pinned* pages, whatever the process's page tables say by now.
//
//     scratch file  ---READ_FIXED--->  pinned pages       the device writes memory
//                   <--WRITE_FIXED---                     the device reads memory
//
// A slot that is emptied is not free at once: the kernel keeps its pages until the requests that
// use them have ended, and reports it by a completion that carries the buffer's tag (law 5).
#pragma once

#include <tether/backend/io_uring/options.hpp>
#include <tether/backend/io_uring/ring_setup.hpp>
#include <tether/backend/io_uring/ring_teardown.hpp>
#include <tether/core/address.hpp>
#include <tether/core/error.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/kernel_handles.hpp>

#include <linux/io_uring.h>
#include <linux/time_types.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <utility>

namespace tether::detail {

/// The ring. Not thread-safe, not movable: its backend locks it and keeps it in one place. Calls
/// return what the kernel seam does: zero or a count, or the negative errno.
template <class Kernel = linux_kernel>
class io_uring_ring {
 public:
  using answer = typename Kernel::answer;
  /// What one `move` can carry. Units: bytes.
  static constexpr std::uint64_t scratch_size = ring_parts<Kernel>::scratch_size;

  io_uring_ring() noexcept = default;
  io_uring_ring(io_uring_ring const&) = delete;
  io_uring_ring& operator=(io_uring_ring const&) = delete;

  ~io_uring_ring() {
    if (parts_.descriptor.number() >= 0) ring_teardown<Kernel>::begins();
  }

  /// Sets the ring up with a table of `slots` empty slots, and how long it waits for a completion
  /// at most. Requires: called once, 0 < slots <= `io_uring_most_slots`. Fails, leaving nothing
  /// behind: as `ring_parts::make`.
  [[nodiscard]] result<void> open(std::uint32_t slots, std::chrono::milliseconds longest_wait =
                                                           io_uring_longest_wait) noexcept {
    auto made = ring_teardown<Kernel>::retried(
        [&]() noexcept { return ring_parts<Kernel>::make(slots); },
        [](auto const& answered) noexcept {
          return !answered && answered.error().is_errno(ENOMEM) ? -ENOMEM : 0;
        });
    if (!made) return failure(made.error());
    parts_ = std::move(*made);
    longest_wait_ = longest_wait;
    return {};
  }

  /// The bytes that `move` carries: fill them before a `READ_FIXED`, read them after a
  /// `WRITE_FIXED`.
  [[nodiscard]] std::byte* scratch() const noexcept {
    return parts_.scratch.template as<std::byte>();
  }

  /// Pins `size` bytes at `host` into the empty `slot`. Requires: 0 < size <=
  /// `io_uring_largest_buffer`. Fails, pinning nothing: -ENOMEM past the locked-memory limit,
  /// -EFAULT where the memory is gone or not writable.
  [[nodiscard]] answer pin(std::uint32_t slot, host_address host, std::uint64_t size) noexcept {
    return ring_teardown<Kernel>::retried(
        [&]() noexcept { return update(slot, host, size, std::uint64_t{slot} + 1); },
        [](answer answered) noexcept { return answered; });
  }
  /// Begins to empty `slot`. Its pages stay pinned until `wait_for_unpins` has returned.
  [[nodiscard]] answer begin_unpin(std::uint32_t slot) noexcept {
    // An overflowing completion ring may lose a tag when memory is short, so overflow is prevented.
    // Most tags have come by now, and are taken without a system call.
    if (unpinning_ + 1 >= parts_.offsets.cq_entries) static_cast<void>(reap());
    if (unpinning_ + 1 >= parts_.offsets.cq_entries) {
      if (const answer waited = wait_for_unpins(); waited < 0) return waited;
    }
    const answer emptied = update(slot, host_address{}, 0, 0);
    if (emptied >= 0) ++unpinning_;
    return emptied;
  }
  /// Waits for the tag of every emptied slot: then the kernel has unpinned their pages.
  [[nodiscard]] answer wait_for_unpins() noexcept {
    return wait_until([this]() noexcept { return unpinning_ == 0; });
  }

  /// Transfers `size` bytes between the scratch file and `host`, which lies in the buffer of
  /// `slot`; `opcode` is `IORING_OP_READ_FIXED` or `IORING_OP_WRITE_FIXED`. Requires: size <=
  /// `scratch_size`. Ensures: nothing is in flight after success.
  [[nodiscard]] answer move(std::uint8_t opcode, std::uint32_t slot, host_address host,
                            std::uint64_t size) noexcept {
    for (std::uint64_t done = 0; done < size;) {
      const answer moved =
          request(opcode, parts_.scratch_file.number(), done, slot, host + done, size - done);
      if (moved < 0) return moved;
      if (moved == 0) return -EIO;
      done += static_cast<std::uint64_t>(moved);
    }
    return 0;
  }

  /// One request from or to any file, and its result. `begin` only submits it; `finish` waits for
  /// it.
  [[nodiscard]] answer request(std::uint8_t opcode, int file, std::uint64_t offset,
                               std::uint32_t slot, host_address host, std::uint64_t size) noexcept {
    const answer begun = begin(opcode, file, offset, slot, host, size);
    return begun < 0 ? begun : finish();
  }
  [[nodiscard]] answer begin(std::uint8_t opcode, int file, std::uint64_t offset,
                             std::uint32_t slot, host_address host, std::uint64_t size) noexcept {
    // One request at a time: a wait that failed may have left the last one in flight, with the
    // scratch bytes in use.
    if (const answer waited = wait_for_requests(); waited < 0) return waited;
    const std::uint32_t tail =
        ring_word(parts_.offsets.sq_off.tail).load(std::memory_order_relaxed);
    const std::uint32_t index =
        tail & ring_word(parts_.offsets.sq_off.ring_mask).load(std::memory_order_relaxed);
    io_uring_sqe& entry = parts_.entries.template as<io_uring_sqe>()[index];
    entry = {};
    entry.opcode = opcode;
    entry.fd = file;
    entry.off = offset;
    entry.addr = host.value;
    entry.len = static_cast<std::uint32_t>(size);
    entry.buf_index = static_cast<std::uint16_t>(slot);
    entry.user_data = request_mark;
    parts_.rings.template as<std::uint32_t>(parts_.offsets.sq_off.array)[index] = index;
    ring_word(parts_.offsets.sq_off.tail).store(tail + 1, std::memory_order_release);
    answer entered = 0;
    do entered = submit();
    while (entered == -EINTR);
    if (ring_word(parts_.offsets.sq_off.head).load(std::memory_order_acquire) != tail + 1) {
      // Not consumed by the kernel: take it off the queue, so that no later call submits it.
      ring_word(parts_.offsets.sq_off.tail).store(tail, std::memory_order_release);
      return entered < 0 ? entered : -EAGAIN;
    }
    in_flight_ = true;
    return 0;
  }
  [[nodiscard]] answer finish() noexcept {
    const answer waited = wait_for_requests();
    return waited < 0 ? waited : result_;
  }
  /// Waits until no request is in flight.
  [[nodiscard]] answer wait_for_requests() noexcept {
    return wait_until([this]() noexcept { return !in_flight_; });
  }

 private:
  /// Distinguishes a request's completion from a buffer's tag.
  static constexpr std::uint64_t request_mark = std::uint64_t{1} << 63;

  [[nodiscard]] std::atomic_ref<std::uint32_t> ring_word(std::uint32_t offset) const noexcept {
    return std::atomic_ref<std::uint32_t>{*parts_.rings.template as<std::uint32_t>(offset)};
  }

  [[nodiscard]] answer update(std::uint32_t slot, host_address host, std::uint64_t size,
                              std::uint64_t tag) noexcept {
    iovec buffer{reinterpret_cast<void*>(static_cast<std::uintptr_t>(host.value)),
                 static_cast<std::size_t>(size)};
    io_uring_rsrc_update2 change{};
    change.offset = slot;
    change.data = reinterpret_cast<std::uintptr_t>(&buffer);
    change.tags = reinterpret_cast<std::uintptr_t>(&tag);
    change.nr = 1;
    const answer updated = ring_parts<Kernel>::register_with(
        parts_.descriptor.number(), IORING_REGISTER_BUFFERS_UPDATE, &change, sizeof change);
    return updated < 0 ? updated : 0;
  }

  [[nodiscard]] answer submit() noexcept {
    return Kernel::call(SYS_io_uring_enter, static_cast<long>(parts_.descriptor.number()), 1L, 0L,
                        0L, static_cast<void*>(nullptr), 0L);
  }
  /// Waits for a completion. Fails: -ETIME when none has come in time, as `io_uring_enter`.
  [[nodiscard]] answer wait_for_one(std::chrono::nanoseconds at_most) noexcept {
    __kernel_timespec time{};
    time.tv_sec = at_most / std::chrono::seconds{1};
    time.tv_nsec = (at_most % std::chrono::seconds{1}).count();
    io_uring_getevents_arg limits{};
    limits.ts = reinterpret_cast<std::uintptr_t>(&time);
    return Kernel::call(SYS_io_uring_enter, static_cast<long>(parts_.descriptor.number()), 0L, 1L,
                        static_cast<long>(IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG),
                        static_cast<void*>(&limits), static_cast<long>(sizeof limits));
  }

  /// Returns whether anything had come.
  bool reap() noexcept {
    auto head = ring_word(parts_.offsets.cq_off.head);
    const std::uint32_t mask =
        ring_word(parts_.offsets.cq_off.ring_mask).load(std::memory_order_relaxed);
    const std::uint32_t tail =
        ring_word(parts_.offsets.cq_off.tail).load(std::memory_order_acquire);
    const std::uint32_t first = head.load(std::memory_order_relaxed);
    std::uint32_t at = first;
    for (; at != tail; ++at) {
      io_uring_cqe const& completion =
          parts_.rings.template as<io_uring_cqe>(parts_.offsets.cq_off.cqes)[at & mask];
      if (completion.user_data == request_mark) {
        in_flight_ = false;
        result_ = completion.res;
      } else {
        --unpinning_;
      }
    }
    head.store(at, std::memory_order_release);
    return at != first;
  }

  /// Fails: -ETIME when nothing has come for `longest_wait`, whatever interrupts the wait; the
  /// kernel's errno. The condition can be waited for again.
  template <class Condition>
  [[nodiscard]] answer wait_until(Condition met) noexcept {
    using clock = std::chrono::steady_clock;
    if (met()) return 0;
    for (auto give_up = clock::now() + longest_wait_;;) {
      if (reap()) give_up = clock::now() + longest_wait_;
      if (met()) return 0;
      const auto left = give_up - clock::now();
      if (left <= clock::duration::zero()) return -ETIME;
      const answer entered = wait_for_one(left);
      // An interrupted wait is repeated; a full completion ring is reaped first.
      if (entered < 0 && entered != -EINTR && entered != -EAGAIN && entered != -EBUSY)
        return entered != -ETIME || !reap() ? entered : wait_until(met);
    }
  }

  ring_parts<Kernel> parts_;
  std::chrono::milliseconds longest_wait_ = io_uring_longest_wait;
  std::uint32_t unpinning_ = 0;
  bool in_flight_ = false;
  answer result_ = 0;
};

}  // namespace tether::detail
