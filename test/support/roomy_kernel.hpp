// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/kernel.hpp>

#include <cstdint>
#include <sys/mman.h>

namespace tether_test {

/// A kernel behind whose mappings there is always room.
struct roomy_kernel : tether::linux_kernel {
  [[nodiscard]] static answer mmap(std::uint64_t size, int protection, int flags, int descriptor,
                                   std::uint64_t offset) noexcept {
    const auto room = tether::linux_kernel::mmap(size + tether::MiB, PROT_NONE,
                                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room < 0) return room;
    static_cast<void>(
        tether::linux_kernel::munmap(static_cast<std::uint64_t>(room), size + tether::MiB));
    return tether::linux_kernel::mmap_at(static_cast<std::uint64_t>(room), size, protection, flags,
                                         descriptor, offset);
  }
};

}  // namespace tether_test
