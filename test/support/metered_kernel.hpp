// SPDX-License-Identifier: BSL-1.0
// Any kernel, Linux or a fake, whose calls are counted, while what it does itself counts neither
// steps nor bytes: a fake may be as slow as it likes.
#pragma once

#include <support/failing_allocation.hpp>
#include <support/steps.hpp>

#include <cstdint>
#include <sys/stat.h>

namespace tether_test {

/// Calls of this thread to any metered kernel.
inline thread_local std::uint64_t kernel_calls_made = 0;

/// Not counted for a scope: neither steps nor bytes.
class unmetered {
 public:
  unmetered() noexcept = default;
  unmetered(unmetered const&) = delete;
  unmetered& operator=(unmetered const&) = delete;
  ~unmetered() { bytes_allocated = bytes_; }

 private:
  counting_scope off_{false};
  std::uint64_t bytes_ = bytes_allocated;
};

template <class Kernel>
struct metered_kernel : Kernel {
  using answer = typename Kernel::answer;

  [[nodiscard]] static answer mmap(std::uint64_t size, int protection, int flags, int descriptor,
                                   std::uint64_t offset) noexcept {
    return asked([&] { return Kernel::mmap(size, protection, flags, descriptor, offset); });
  }
  [[nodiscard]] static answer mmap_at(std::uint64_t host, std::uint64_t size, int protection,
                                      int flags, int descriptor, std::uint64_t offset) noexcept {
    return asked(
        [&] { return Kernel::mmap_at(host, size, protection, flags, descriptor, offset); });
  }
  [[nodiscard]] static answer move_mapping(std::uint64_t host, std::uint64_t size,
                                           std::uint64_t to) noexcept {
    return asked([&] { return Kernel::move_mapping(host, size, to); });
  }
  [[nodiscard]] static answer mprotect(std::uint64_t host, std::uint64_t size,
                                       int protection) noexcept {
    return asked([&] { return Kernel::mprotect(host, size, protection); });
  }
  [[nodiscard]] static answer munmap(std::uint64_t host, std::uint64_t size) noexcept {
    return asked([&] { return Kernel::munmap(host, size); });
  }
  [[nodiscard]] static answer madvise(std::uint64_t host, std::uint64_t size, int advice) noexcept {
    return asked([&] { return Kernel::madvise(host, size, advice); });
  }
  [[nodiscard]] static answer memfd_create(const char* name, unsigned flags) noexcept {
    return asked([&] { return Kernel::memfd_create(name, flags); });
  }
  [[nodiscard]] static answer ftruncate(int descriptor, std::uint64_t size) noexcept {
    return asked([&] { return Kernel::ftruncate(descriptor, size); });
  }
  [[nodiscard]] static answer fallocate(int descriptor, int mode, std::uint64_t offset,
                                        std::uint64_t size) noexcept {
    return asked([&] { return Kernel::fallocate(descriptor, mode, offset, size); });
  }
  [[nodiscard]] static answer fstat(int descriptor, struct stat& status) noexcept {
    return asked([&] { return Kernel::fstat(descriptor, status); });
  }
  [[nodiscard]] static answer stat(const char* path, struct stat& status) noexcept {
    return asked([&] { return Kernel::stat(path, status); });
  }
  [[nodiscard]] static answer duplicate(int descriptor) noexcept {
    return asked([&] { return Kernel::duplicate(descriptor); });
  }
  [[nodiscard]] static answer descriptor_flags(int descriptor) noexcept {
    return asked([&] { return Kernel::descriptor_flags(descriptor); });
  }
  [[nodiscard]] static answer add_seals(int descriptor, unsigned seals) noexcept {
    return asked([&] { return Kernel::add_seals(descriptor, seals); });
  }
  [[nodiscard]] static answer seals(int descriptor) noexcept {
    return asked([&] { return Kernel::seals(descriptor); });
  }
  [[nodiscard]] static answer close(int descriptor) noexcept {
    return asked([&] { return Kernel::close(descriptor); });
  }
  template <class... Arguments>
  [[nodiscard]] static answer call(long number, Arguments... arguments) noexcept {
    return asked([&] { return Kernel::call(number, arguments...); });
  }

 private:
  template <class Call>
  static answer asked(Call call) noexcept {
    if (counts_steps) ++kernel_calls_made;
    const unmetered outside;
    return call();
  }
};

}  // namespace tether_test
