// SPDX-License-Identifier: BSL-1.0
// What an io_uring is made of, and how it is set up: the ring itself, its table of empty slots, and
// the scratch file that stands for a device's memory. Two pages count against the user's
// locked-memory limit.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/detail/locked_memory.hpp>
#include <tether/core/error.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/kernel_handles.hpp>

#include <linux/io_uring.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <utility>

namespace tether::detail {

/// Completions that a ring holds. Few, because a ring counts against the locked-memory limit: with
/// 64 it takes two pages, with 4,096 eighteen.
inline constexpr std::uint32_t io_uring_completions = 64;

/// Everything that belongs to one ring; released in the reverse order.
template <class Kernel>
struct ring_parts {
  using answer = typename Kernel::answer;
  /// What one request of the ring's device can carry. Units: bytes.
  static constexpr std::uint64_t scratch_size = 64 * KiB;

  kernel_descriptor<Kernel> descriptor{};
  kernel_descriptor<Kernel> scratch_file{};
  kernel_area<Kernel> rings{};
  kernel_area<Kernel> entries{};
  kernel_area<Kernel> scratch{};
  io_uring_params offsets{};

  /// Sets a ring up with a table of `slots` empty slots. Fails, leaving nothing behind: the
  /// kernel's errno, with what to do about it; `unsupported` by an old kernel.
  [[nodiscard]] static result<ring_parts> make(std::uint32_t slots) noexcept {
    io_uring_params asked{};
    asked.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    asked.cq_entries = io_uring_completions;
    const answer ring = Kernel::call(SYS_io_uring_setup, 8L, &asked);
    if (ring < 0) return failure(refusal("open io_uring", ring));
    kernel_descriptor<Kernel> descriptor{ring};
    constexpr std::uint32_t needed =
        IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_RSRC_TAGS;
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

    return ring_parts{std::move(descriptor), std::move(scratch_file), std::move(rings),
                      std::move(entries),    std::move(scratch),      asked};
  }

  /// `io_uring_register` of `ring`.
  [[nodiscard]] static answer register_with(int ring, unsigned what, void* argument,
                                            std::size_t size) noexcept {
    return Kernel::call(SYS_io_uring_register, static_cast<long>(ring), static_cast<long>(what),
                        argument, static_cast<long>(size));
  }

 private:
  [[nodiscard]] static error refusal(const char* operation, answer why) noexcept {
    const error plain = error::from_errno(operation, static_cast<int>(-why));
    if (why == -EPERM || why == -EACCES || why == -ENOSYS) {
      return plain.advise(
          "the kernel or a sandbox forbids io_uring: set kernel.io_uring_disabled to 0, or allow "
          "it in the seccomp profile");
    }
    if (why != -ENOMEM) return plain;
    // Two pages, and two to spare.
    const error raise =
        advise_on_locked_memory<Kernel>(plain, locked_by::user, 4 * Kernel::page_size());
    return raise.number() == 0
               ? raise
               : raise.advise(
                     "raise the locked-memory limit (ulimit -l), which counts all that "
                     "this user pins, to {} KiB, and by what will be mapped",
                     raise.number());
  }
  [[nodiscard]] static error too_old() noexcept {
    return error{"open io_uring", errc::unsupported}.advise(
        "it takes Linux 5.19 or later, for sparse tables of tagged buffers");
  }
  [[nodiscard]] static auto failed(answer why) noexcept {
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
};

}  // namespace tether::detail
