// SPDX-License-Identifier: BSL-1.0
// What the kernel itself says about this process's pins and descriptors, and real memory to pin.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/mapping.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <dirent.h>
#include <span>
#include <sys/mman.h>
#include <unistd.h>

namespace tether_test {

/// VmPin of /proc/self/status. Units: bytes.
[[nodiscard]] inline std::uint64_t pinned_by_the_kernel() {
  std::FILE* const status = std::fopen("/proc/self/status", "re");
  if (status == nullptr) return 0;
  char line[256];
  unsigned long long kib = 0;
  while (std::fgets(line, sizeof line, status) != nullptr) {
    if (std::strncmp(line, "VmPin:", 6) == 0) std::sscanf(line + 6, "%llu", &kib);
  }
  std::fclose(status);
  return kib * tether::KiB;
}

/// How many file descriptors this process has open.
[[nodiscard]] inline std::size_t open_descriptors() {
  DIR* const folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  std::size_t found = 0;
  while (::readdir(folder) != nullptr) ++found;
  ::closedir(folder);
  return found;
}

/// Private anonymous memory in small pages (a huge page would count whole in VmPin), zeroed.
class host_memory {
 public:
  explicit host_memory(std::uint64_t size) : size_{size} {
    at_ = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ::madvise(at_, size, MADV_NOHUGEPAGE);
  }
  host_memory(host_memory const&) = delete;
  host_memory& operator=(host_memory const&) = delete;
  ~host_memory() { ::munmap(at_, size_); }

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] std::span<std::byte> bytes() const noexcept {
    return {static_cast<std::byte*>(at_), size_};
  }
  [[nodiscard]] tether::host_address host(std::uint64_t offset = 0) const noexcept {
    return tether::host_address{reinterpret_cast<std::uintptr_t>(at_) + offset};
  }
  /// `size` bytes of it from `offset`, at `io`.
  [[nodiscard]] tether::mapping at(
      std::uint64_t io, std::uint64_t offset, std::uint64_t size,
      tether::access rights = tether::access::read_write) const noexcept {
    return {{tether::io_address{io}, tether::io_address{io + size - 1}},
            host(offset),
            rights,
            tether::memory_kind::private_anonymous};
  }
  /// What a balloon does to private memory.
  void discard(std::uint64_t offset, std::uint64_t size) const noexcept {
    ::madvise(static_cast<std::byte*>(at_) + offset, size, MADV_DONTNEED);
  }

 private:
  void* at_;
  std::uint64_t size_;
};

/// This machine's page. Units: bytes.
[[nodiscard]] inline std::uint64_t host_page() noexcept {
  return static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace tether_test
