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
#include <tether/core/address.hpp>
#include <tether/core/error.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/kernel_handles.hpp>

#include <linux/io_uring.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <sys/mman.h>
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
  static constexpr std::uint64_t scratch_size = 64 * KiB;

  io_uring_ring() noexcept = default;
  io_uring_ring(io_uring_ring const&) = delete;
  io_uring_ring& operator=(io_uring_ring const&) = delete;

  /// Sets the ring up with a table of `slots` empty slots. Requires: called once, 0 < slots <=
  /// `io_uring_most_slots`. Fails, leaving nothing behind: the kernel's errno, with what to do
  /// about it; `unsupported` by an old kernel.
  [[nodiscard]] result<void> open(std::uint32_t slots) noexcept {
    io_uring_params asked{};
    asked.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    asked.cq_entries = 4096;
    const answer ring = Kernel::call(SYS_io_uring_setup, 8L, &asked);
    if (ring < 0) return failure(refusal("open io_uring", ring));
    kernel_descriptor<Kernel> descriptor{ring};
    constexpr std::uint32_t needed =
        IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_RSRC_TAGS;
    if ((asked.features & needed) != needed) return failure(too_old());

    const std::uint64_t ring_size =
        std::max<std::uint64_t>(asked.sq_off.array + asked.sq_entries * sizeof(std::uint32_t),
                                asked.cq_off.cqes + asked.cq_entries * sizeof(io_uring_cqe));
    kernel_area<Kernel> rings;
    kernel_area<Kernel> entries;
    kernel_area<Kernel> scratch;
    if (auto why = map(rings, ring_size, descriptor.number(), IORING_OFF_SQ_RING); why < 0)
      return failed(why);
    if (auto why = map(entries, asked.sq_entries * sizeof(io_uring_sqe), descriptor.number(),
                       IORING_OFF_SQES);
        why < 0)
      return failed(why);

    io_uring_rsrc_register table{};
    table.nr = slots;
    table.flags = IORING_RSRC_REGISTER_SPARSE;
    const answer registered =
        register_with(descriptor.number(), IORING_REGISTER_BUFFERS2, &table, sizeof table);
    if (registered == -EINVAL) return failure(too_old());
    if (registered < 0) return failed(registered);

    const answer file = Kernel::memfd_create("tether-io_uring-scratch", MFD_CLOEXEC);
    if (file < 0) return failed(file);
    kernel_descriptor<Kernel> scratch_file{file};
    if (const answer sized = Kernel::ftruncate(scratch_file.number(), scratch_size); sized < 0)
      return failed(sized);
    if (auto why = map(scratch, scratch_size, scratch_file.number(), 0); why < 0)
      return failed(why);

    descriptor_ = std::move(descriptor);
    scratch_file_ = std::move(scratch_file);
    rings_ = std::move(rings);
    entries_ = std::move(entries);
    scratch_ = std::move(scratch);
    offsets_ = asked;
    return {};
  }

  /// The bytes that `move` carries: fill them before a `READ_FIXED`, read them after a
  /// `WRITE_FIXED`.
  [[nodiscard]] std::byte* scratch() const noexcept { return scratch_.template as<std::byte>(); }

  /// Pins `size` bytes at `host` into the empty `slot`. Requires: 0 < size <=
  /// `io_uring_largest_buffer`. Fails, pinning nothing: -ENOMEM past the locked-memory limit,
  /// -EFAULT where the memory is gone or not writable.
  [[nodiscard]] answer pin(std::uint32_t slot, host_address host, std::uint64_t size) noexcept {
    return update(slot, host, size, std::uint64_t{slot} + 1);
  }
  /// Begins to empty `slot`. Its pages stay pinned until `wait_for_unpins` has returned.
  [[nodiscard]] answer begin_unpin(std::uint32_t slot) noexcept {
    // An overflowing completion ring may lose a tag when memory is short, so overflow is prevented.
    if (unpinning_ + 1 >= offsets_.cq_entries) {
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
          request(opcode, scratch_file_.number(), done, slot, host + done, size - done);
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
    const std::uint32_t tail = ring_word(offsets_.sq_off.tail).load(std::memory_order_relaxed);
    const std::uint32_t index =
        tail & ring_word(offsets_.sq_off.ring_mask).load(std::memory_order_relaxed);
    io_uring_sqe& entry = entries_.template as<io_uring_sqe>()[index];
    entry = {};
    entry.opcode = opcode;
    entry.fd = file;
    entry.off = offset;
    entry.addr = host.value;
    entry.len = static_cast<std::uint32_t>(size);
    entry.buf_index = static_cast<std::uint16_t>(slot);
    entry.user_data = request_mark;
    rings_.template as<std::uint32_t>(offsets_.sq_off.array)[index] = index;
    ring_word(offsets_.sq_off.tail).store(tail + 1, std::memory_order_release);
    answer entered = 0;
    do entered = enter(1, 0);
    while (entered == -EINTR);
    if (ring_word(offsets_.sq_off.head).load(std::memory_order_acquire) != tail + 1) {
      // Not consumed by the kernel: take it off the queue, so that no later call submits it.
      ring_word(offsets_.sq_off.tail).store(tail, std::memory_order_release);
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

  [[nodiscard]] static error refusal(const char* operation, answer why) noexcept {
    const error plain = error::from_errno(operation, static_cast<int>(-why));
    if (why == -EPERM || why == -EACCES || why == -ENOSYS) {
      return plain.advise(
          "the kernel or a sandbox forbids io_uring: set kernel.io_uring_disabled to 0, or allow "
          "it in the seccomp profile");
    }
    if (why == -ENOMEM) return plain.advise("raise the locked-memory limit (ulimit -l)");
    return plain;
  }
  [[nodiscard]] static error too_old() noexcept {
    return error{"open io_uring", errc::unsupported}.advise(
        "it takes Linux 5.19 or later, for sparse tables of tagged buffers");
  }
  [[nodiscard]] static tl::unexpected<error> failed(answer why) noexcept {
    return failure(refusal("set up io_uring", why));
  }

  /// Maps `size` bytes of a file, shared with the kernel. Returns 0 or the negative errno.
  [[nodiscard]] static answer map(kernel_area<Kernel>& area, std::uint64_t size, int file,
                                  std::uint64_t offset) noexcept {
    const answer at =
        Kernel::mmap(size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, offset);
    if (at < 0) return at;
    area = kernel_area<Kernel>{at, size};
    return 0;
  }
  [[nodiscard]] static answer register_with(int ring, unsigned what, void* argument,
                                            std::size_t size) noexcept {
    return Kernel::call(SYS_io_uring_register, static_cast<long>(ring), static_cast<long>(what),
                        argument, static_cast<long>(size));
  }

  [[nodiscard]] std::atomic_ref<std::uint32_t> ring_word(std::uint32_t offset) const noexcept {
    return std::atomic_ref<std::uint32_t>{*rings_.template as<std::uint32_t>(offset)};
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
    const answer updated =
        register_with(descriptor_.number(), IORING_REGISTER_BUFFERS_UPDATE, &change, sizeof change);
    return updated < 0 ? updated : 0;
  }

  [[nodiscard]] answer enter(unsigned to_submit, unsigned to_complete) noexcept {
    return Kernel::call(SYS_io_uring_enter, static_cast<long>(descriptor_.number()),
                        static_cast<long>(to_submit), static_cast<long>(to_complete),
                        static_cast<long>(to_complete != 0 ? IORING_ENTER_GETEVENTS : 0),
                        static_cast<void*>(nullptr), 0L);
  }

  void reap() noexcept {
    auto head = ring_word(offsets_.cq_off.head);
    const std::uint32_t mask = ring_word(offsets_.cq_off.ring_mask).load(std::memory_order_relaxed);
    const std::uint32_t tail = ring_word(offsets_.cq_off.tail).load(std::memory_order_acquire);
    std::uint32_t at = head.load(std::memory_order_relaxed);
    for (; at != tail; ++at) {
      io_uring_cqe const& completion =
          rings_.template as<io_uring_cqe>(offsets_.cq_off.cqes)[at & mask];
      if (completion.user_data == request_mark) {
        in_flight_ = false;
        result_ = completion.res;
      } else {
        --unpinning_;
      }
    }
    head.store(at, std::memory_order_release);
  }

  template <class Condition>
  [[nodiscard]] answer wait_until(Condition met) noexcept {
    for (;;) {
      if (met()) return 0;
      reap();
      if (met()) return 0;
      const answer entered = enter(0, 1);
      // An interrupted wait is repeated; a full completion ring is reaped first.
      if (entered < 0 && entered != -EINTR && entered != -EAGAIN && entered != -EBUSY)
        return entered;
    }
  }

  kernel_descriptor<Kernel> descriptor_;
  kernel_descriptor<Kernel> scratch_file_;
  kernel_area<Kernel> rings_;
  kernel_area<Kernel> entries_;
  kernel_area<Kernel> scratch_;
  io_uring_params offsets_{};
  std::uint32_t unpinning_ = 0;
  bool in_flight_ = false;
  answer result_ = 0;
};

}  // namespace tether::detail
