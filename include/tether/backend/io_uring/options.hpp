// SPDX-License-Identifier: BSL-1.0
// The options of an `io_uring_buffers` backend, and the kernel's limits, which are their defaults.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/extent.hpp>

#include <chrono>
#include <cstdint>
#include <vector>

namespace tether {

/// The kernel's own limits. Source: IORING_MAX_REG_BUFFERS, and the size check of each buffer.
inline constexpr std::uint32_t io_uring_most_slots = 16384;
inline constexpr std::uint64_t io_uring_largest_buffer = 1 * GiB;
/// How long a completion is waited for unless the options say otherwise. Linux 6.1 takes a second.
inline constexpr std::chrono::milliseconds io_uring_longest_wait{30'000};

/// What an `io_uring_buffers` may use. The defaults are the kernel's limits; tests make them small.
struct io_uring_options {
  /// Slots in the kernel's table, 2 to 16,384. One is reserved for requests that pin on demand.
  std::uint32_t slots = io_uring_most_slots;
  /// What one slot holds at most. Units: bytes, whole host pages, at most 1 GiB.
  std::uint64_t bytes_per_slot = io_uring_largest_buffer;
  /// How long nothing may come while the kernel is waited for: then the wait fails with ETIME, and
  /// what was being unmapped, left or abandoned is stuck, so that its container diverges.
  std::chrono::milliseconds longest_wait = io_uring_longest_wait;
  /// Sorted and disjoint. A mapping cannot span two ranges, not even adjacent ones.
  std::vector<extent<io_address>> usable{{io_address{0}, io_address{0xffff'ffff'ffff}}};
};

}  // namespace tether
