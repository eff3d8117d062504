// SPDX-License-Identifier: BSL-1.0
// The seam that every system call of the library goes through. A kernel is a stateless type with
// these static functions; tests substitute one that fails at the n-th call. Each returns what the
// kernel returns: a value, or the *negative* errno.
#pragma once

#include <tether/version.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace tether {

/// Linux itself. Cost: exactly the system call.
struct linux_kernel {
  using answer = std::int64_t;  ///< what a call answers: a negative errno, or its result

  /// Bytes of a host's page.
  [[nodiscard]] static std::uint64_t page_size() noexcept {
    return static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  }

  /// The address of the new mapping, or the negative errno.
  [[nodiscard]] static answer mmap(std::uint64_t size, int protection, int flags, int descriptor,
                                   std::uint64_t offset) noexcept {
    void* const at =
        ::mmap(nullptr, size, protection, flags, descriptor, static_cast<off_t>(offset));
    return at == MAP_FAILED ? -static_cast<answer>(errno)
                            : static_cast<answer>(reinterpret_cast<std::uintptr_t>(at));
  }
  /// As `mmap`, at a given address: MAP_FIXED replaces what is mapped there, MAP_FIXED_NOREPLACE
  /// fails if anything is; with neither flag the address is a hint.
  [[nodiscard]] static answer mmap_at(std::uint64_t host, std::uint64_t size, int protection,
                                      int flags, int descriptor, std::uint64_t offset) noexcept {
    void* const at =
        ::mmap(pointer(host), size, protection, flags, descriptor, static_cast<off_t>(offset));
    return at == MAP_FAILED ? -static_cast<answer>(errno)
                            : static_cast<answer>(reinterpret_cast<std::uintptr_t>(at));
  }
  /// Moves a mapping to `to`, replacing what is mapped there.
  [[nodiscard]] static answer move_mapping(std::uint64_t host, std::uint64_t size,
                                           std::uint64_t to) noexcept {
    void* const at =
        ::mremap(pointer(host), size, size, MREMAP_MAYMOVE | MREMAP_FIXED, pointer(to));
    return at == MAP_FAILED ? -static_cast<answer>(errno) : 0;
  }
  [[nodiscard]] static answer mprotect(std::uint64_t host, std::uint64_t size,
                                       int protection) noexcept {
    return or_errno(::mprotect(pointer(host), size, protection));
  }
  [[nodiscard]] static answer munmap(std::uint64_t host, std::uint64_t size) noexcept {
    return or_errno(::munmap(pointer(host), size));
  }
  [[nodiscard]] static answer madvise(std::uint64_t host, std::uint64_t size, int advice) noexcept {
    return or_errno(::madvise(pointer(host), size, advice));
  }
  [[nodiscard]] static answer memfd_create(const char* name, unsigned flags) noexcept {
    return or_errno(::memfd_create(name, flags));
  }
  [[nodiscard]] static answer ftruncate(int descriptor, std::uint64_t size) noexcept {
    return or_errno(::ftruncate(descriptor, static_cast<off_t>(size)));
  }
  [[nodiscard]] static answer fallocate(int descriptor, int mode, std::uint64_t offset,
                                        std::uint64_t size) noexcept {
    return or_errno(
        ::fallocate(descriptor, mode, static_cast<off_t>(offset), static_cast<off_t>(size)));
  }
  [[nodiscard]] static answer fstat(int descriptor, struct stat& status) noexcept {
    return or_errno(::fstat(descriptor, &status));
  }
  /// The status of the file at `path`, without opening it.
  [[nodiscard]] static answer stat(const char* path, struct stat& status) noexcept {
    return or_errno(::stat(path, &status));
  }
  [[nodiscard]] static answer duplicate(int descriptor) noexcept {
    return or_errno(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
  }
  [[nodiscard]] static answer descriptor_flags(int descriptor) noexcept {
    return or_errno(::fcntl(descriptor, F_GETFL));
  }
  /// F_ADD_SEALS: forbids these operations on the file from now on.
  [[nodiscard]] static answer add_seals(int descriptor, unsigned seals) noexcept {
    return or_errno(::fcntl(descriptor, F_ADD_SEALS, seals));
  }
  [[nodiscard]] static answer seals(int descriptor) noexcept {
    return or_errno(::fcntl(descriptor, F_GET_SEALS));
  }
  [[nodiscard]] static answer close(int descriptor) noexcept {
    return or_errno(::close(descriptor));
  }
  /// Any call by number, for interfaces that the C library does not wrap (io_uring).
  template <class... Arguments>
  [[nodiscard]] static answer call(long number, Arguments... arguments) noexcept {
    return or_errno(::syscall(number, arguments...));
  }

 private:
  /// The C library's result, or the negative errno where it is negative.
  static answer or_errno(long answered) noexcept {
    return answered < 0 ? -static_cast<answer>(errno) : answered;
  }
  static void* pointer(std::uint64_t at) noexcept {
    return reinterpret_cast<void*>(static_cast<std::uintptr_t>(at));
  }
};

namespace detail {

template <class Backend>
struct kernel_used_by {
  using type = linux_kernel;
};
template <class Backend>
  requires requires { typename Backend::kernel_type; }
struct kernel_used_by<Backend> {
  using type = typename Backend::kernel_type;
};

}  // namespace detail

/// The kernel that a backend calls: its `kernel_type`, or Linux itself if it names none.
template <class Backend>
using kernel_of = typename detail::kernel_used_by<Backend>::type;

}  // namespace tether
