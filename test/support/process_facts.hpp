// SPDX-License-Identifier: BSL-1.0
// What the kernel says about this process, to compare it before and after: descriptors, mapped
// pages, frames.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <dirent.h>
#include <fcntl.h>
#include <map>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

namespace tether_test {

/// Every open descriptor and what it is open on. The one that reads the folder is left out.
[[nodiscard]] inline std::map<int, std::string> descriptors() {
  std::map<int, std::string> found;
  DIR* const folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return found;
  while (dirent const* const entry = ::readdir(folder)) {
    if (entry->d_name[0] == '.') continue;
    const int descriptor = std::stoi(entry->d_name);
    if (descriptor == ::dirfd(folder)) continue;
    char target[256];
    const std::string path = std::string{"/proc/self/fd/"} + entry->d_name;
    const auto length = ::readlink(path.c_str(), target, sizeof target);
    found[descriptor] = length < 0 ? "?" : std::string(target, static_cast<std::size_t>(length));
  }
  ::closedir(folder);
  return found;
}

/// The size of all mappings, touched or not. Units: bytes.
[[nodiscard]] inline std::uint64_t mapped_bytes() {
  unsigned long long pages = 0;
  if (std::FILE* const sizes = std::fopen("/proc/self/statm", "re")) {
    if (std::fscanf(sizes, "%llu", &pages) != 1) pages = 0;
    std::fclose(sizes);
  }
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

/// Whether anything is mapped at this address.
[[nodiscard]] inline bool is_mapped(std::uint64_t host) {
  const std::uint64_t page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return ::msync(reinterpret_cast<void*>(static_cast<std::uintptr_t>(host & ~(page - 1))), page,
                 MS_ASYNC) == 0 ||
         errno != ENOMEM;
}

/// The pagemap entry of this page. Source: Documentation/admin-guide/mm/pagemap.rst.
[[nodiscard]] inline std::uint64_t pagemap_entry(void const* at) {
  const int pagemap = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (pagemap < 0) return 0;
  const std::uint64_t page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  std::uint64_t entry = 0;
  const auto offset =
      static_cast<off_t>(reinterpret_cast<std::uintptr_t>(at) / page * sizeof entry);
  const bool read =
      ::pread(pagemap, &entry, sizeof entry, offset) == static_cast<ssize_t>(sizeof entry);
  ::close(pagemap);
  return read ? entry : 0;
}
/// Whether the page is resident. Reading it would fault one in.
[[nodiscard]] inline bool is_resident(void const* at) { return pagemap_entry(at) >> 63 != 0; }
/// Whether that frame is a file's (or shared memory's), not this process's own.
[[nodiscard]] inline bool is_of_a_file(void const* at) {
  return is_resident(at) && (pagemap_entry(at) >> 61 & 1U) != 0;
}

}  // namespace tether_test
