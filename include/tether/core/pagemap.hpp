// SPDX-License-Identifier: BSL-1.0
// Which frame of the host's RAM backs each page of this process's memory: what the CPU sees, to be
// compared with what a device sees. Read from the kernel's /proc/self/pagemap.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/error.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/kernel_handles.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utility>

namespace tether {

/// A pagemap entry: one page of a process. Source: Documentation/admin-guide/mm/pagemap.rst.
struct page_frame {
  std::uint64_t entry = 0;  ///< as the kernel gave it

  /// Whether a page is there.
  [[nodiscard]] constexpr bool present() const noexcept { return entry >> 63 != 0; }
  /// Its contents are swapped out; an access faults them in again.
  [[nodiscard]] constexpr bool swapped() const noexcept { return (entry >> 62 & 1U) != 0; }
  /// Only meaningful if present. 0: hidden from this process (it takes CAP_SYS_ADMIN).
  [[nodiscard]] constexpr std::uint64_t number() const noexcept {
    return entry & ((std::uint64_t{1} << 55) - 1);
  }
};

/// The pagemap of this process, open. Closed when destroyed. Units: host pages.
template <class Kernel = linux_kernel>
class page_frames {
 public:
  /// Fails: the kernel's errno, where /proc is missing or access is denied.
  [[nodiscard]] static result<page_frames> open() noexcept {
    const auto answer =
        Kernel::call(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
    if (answer >= 0) return page_frames{kernel_descriptor<Kernel>{answer}};
    return failure(
        error::from_errno("read page frames", static_cast<int>(-answer)).of("/proc/self/pagemap"));
  }

  /// Calls `visit(n, page_frame)` for each of the `count` pages from `from`. With `touch` an absent
  /// page is read first: a file's page may be in the page cache without a PTE in this process. A
  /// swapped page is always faulted in.
  /// Fails: the kernel's errno, also where a sandbox lets no page be touched: it would be taken for
  /// one that is gone. Cost: a system call per 512 pages, one more per page touched.
  template <class Visit>
  [[nodiscard]] result<void> look(host_address from, std::uint64_t count, bool touch,
                                  Visit visit) const noexcept {
    const std::uint64_t page = Kernel::page_size();
    std::array<page_frame, 512> some{};
    for (std::uint64_t at = 0; at != count;) {
      const std::uint64_t now = std::min<std::uint64_t>(some.size(), count - at);
      if (auto done = read(from.value / page + at, now, some); !done) return done;
      bool changed = false;
      for (std::uint64_t i = 0; i != now; ++i) {
        if (some[i].present() || !(touch || some[i].swapped())) continue;
        if (auto touched = read_one_byte(from + (at + i) * page); !touched) return touched;
        changed = true;
      }
      if (changed) {
        if (auto done = read(from.value / page + at, now, some); !done) return done;
      }
      for (std::uint64_t i = 0; i != now; ++i) visit(at + i, some[i]);
      at += now;
    }
    return {};
  }

 private:
  explicit page_frames(kernel_descriptor<Kernel> opened) noexcept
      : descriptor_{std::move(opened)} {}

  result<void> read(std::uint64_t page, std::uint64_t count,
                    std::array<page_frame, 512>& into) const noexcept {
    const auto bytes = count * sizeof(page_frame);
    const auto answer = Kernel::call(SYS_pread64, descriptor_.number(), into.data(), bytes,
                                     page * sizeof(page_frame));
    if (answer == static_cast<std::int64_t>(bytes)) return {};
    return failure(
        error::from_errno("read page frames", answer < 0 ? static_cast<int>(-answer) : EIO)
            .of("/proc/self/pagemap"));
  }
  /// By a system call: if the address is not mapped any more, it returns an error and raises no
  /// signal. Where a sandbox forbids that one, by another (MADV_POPULATE_READ, Linux 5.14).
  static result<void> read_one_byte(host_address at) noexcept {
    std::byte byte{};
    const iovec here{&byte, 1};
    const iovec there{reinterpret_cast<void*>(static_cast<std::uintptr_t>(at.value)), 1};
    const auto answer =
        Kernel::call(SYS_process_vm_readv, ::getpid(), &here, 1UL, &there, 1UL, 0UL);
    if (answer != -EPERM && answer != -ENOSYS && answer != -EACCES) return {};
    constexpr int populate_read = 22;
    const auto populated = Kernel::madvise(at.value, Kernel::page_size(), populate_read);
    if (populated != -EINVAL && populated != -EPERM && populated != -ENOSYS) return {};
    return failure(error::from_errno("read page frames", static_cast<int>(-answer))
                       .advise("a sandbox forbids process_vm_readv: allow it for an audit"));
  }

  kernel_descriptor<Kernel> descriptor_;
};

}  // namespace tether
