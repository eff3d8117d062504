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

/// Keeps the number of this process; 0: nobody has asked yet, in this process.
using kept_process_id = std::atomic<pid_t>;

/// Stays 0. It stands for the page before that is made, and where the kernel empties none.
inline constinit kept_process_id no_process_id_page{0};
/// Never unmapped: objects ask until the process ends.
inline constinit kept_process_id* process_id_page = &no_process_id_page;

[[nodiscard, gnu::cold, gnu::noinline]] inline kept_process_id* make_process_id_page() noexcept {
  constexpr std::size_t bytes = 4096;  // the kernel maps a whole page
  void* const at =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return &no_process_id_page;
  if (::madvise(at, bytes, MADV_WIPEONFORK) == 0) return ::new (at) kept_process_id{0};
  ::munmap(at, bytes);
  return &no_process_id_page;
}

/// Made while static objects are, by one thread. What is made before asks the kernel.
inline const bool process_id_page_is_made =
    (process_id_page = make_process_id_page()) != &no_process_id_page;

[[nodiscard, gnu::cold, gnu::noinline]] inline pid_t ask_process_id() noexcept {
  const pid_t id = ::getpid();
  if (process_id_page != &no_process_id_page)
    process_id_page->store(id, std::memory_order_relaxed);
  return id;
}

/// As getpid(2). Cost: two loads, once it was asked. A child that shares its parent's memory
/// (vfork) is taken for the parent.
[[nodiscard]] inline pid_t process_id() noexcept {
  const pid_t id = process_id_page->load(std::memory_order_relaxed);
  return id != 0 ? id : ask_process_id();
}

}  // namespace tether::detail
