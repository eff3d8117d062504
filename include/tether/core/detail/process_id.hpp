// SPDX-License-Identifier: BSL-1.0
// Which process this is, asked without a system call, by what maps memory: the answer is kept in a
// page that the kernel empties in a child of a fork (MADV_WIPEONFORK, Linux 4.14).
#pragma once

#include <tether/version.hpp>

#include <atomic>
#include <cstddef>
#include <new>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

namespace tether::detail {

/// The number of this process; 0 in a page that nobody has asked yet, in this process.
using kept_process_id = std::atomic<pid_t>;

/// What stands for the page where the kernel empties none.
inline constinit kept_process_id not_kept{0};
/// Never unmapped: objects ask until the process ends. Null: not made yet.
inline constinit std::atomic<kept_process_id*> process_id_page{nullptr};

/// Makes the page, unless another thread has. Answers `not_kept` if it cannot be had.
[[nodiscard, gnu::cold, gnu::noinline]] inline kept_process_id* make_process_id_page() noexcept {
  constexpr std::size_t bytes = 4096;  // the kernel maps a whole page
  void* const at =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  kept_process_id* made = &not_kept;
  if (at != MAP_FAILED && ::madvise(at, bytes, MADV_WIPEONFORK) == 0)
    made = ::new (at) kept_process_id{0};
  kept_process_id* first = nullptr;
  const bool mine =
      process_id_page.compare_exchange_strong(first, made, std::memory_order_acq_rel);
  if (at != MAP_FAILED && (!mine || made == &not_kept)) ::munmap(at, bytes);
  return mine ? made : first;
}

/// As getpid(2). Cost: two loads, once it was asked. A child that shares its parent's memory
/// (vfork) is taken for the parent.
[[nodiscard]] inline pid_t process_id() noexcept {
  kept_process_id* page = process_id_page.load(std::memory_order_acquire);
  if (page == nullptr) [[unlikely]]
    page = make_process_id_page();
  pid_t id = page->load(std::memory_order_relaxed);
  if (id == 0) [[unlikely]] {
    id = ::getpid();
    if (page != &not_kept) page->store(id, std::memory_order_relaxed);
  }
  return id;
}

}  // namespace tether::detail
