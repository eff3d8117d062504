// SPDX-License-Identifier: BSL-1.0
// The device's side of a split virtqueue. All of it lies in guest memory and may be nonsense: rings
// outside of memory, indices that jump, chains that loop. Then the queue is broken, and the device
// says so (DEVICE_NEEDS_RESET). Source: virtio 1.2, 2.7.
//
//     descriptors   [ address, bytes, flags, next ] ...
//     available     flags, index, [ head, head, ... ]         written by the driver
//     used          flags, index, [ (head, written), ... ]    written by the device
#pragma once

#include "guest_memory.hpp"

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

namespace vmm {

/// One request: what the driver wrote, and where the device may write.
struct request {
  std::uint16_t head = 0;
  std::vector<segment> readable{};
  std::vector<segment> writable{};
};

class virtqueue {
 public:
  static constexpr std::uint32_t most = 256;

  // As the driver sets it up.
  std::uint32_t size = most;
  std::uint64_t descriptors = 0;
  std::uint64_t available = 0;
  std::uint64_t used = 0;

  [[nodiscard]] bool is_ready() const noexcept { return ready_; }
  [[nodiscard]] bool is_broken() const noexcept { return broken_; }
  /// Whether the driver is to be interrupted: something was used since it was last asked.
  [[nodiscard]] bool take_news() noexcept { return std::exchange(news_, false); }

  /// The driver has set it up.
  void begin(guest_memory const& memory) {
    const std::uint64_t entries = size;
    const bool well = std::has_single_bit(size) && size <= most && descriptors % 16 == 0 &&
                      available % 2 == 0 && used % 4 == 0 &&
                      !memory.at({descriptors, 16 * entries}).empty() &&
                      !memory.at({available, 6 + 2 * entries}).empty() &&
                      !memory.at({used, 6 + 8 * entries}).empty();
    ready_ = well;
    broken_ = !well;
  }

  /// The next request; nothing if there is none, or if the driver broke the rules.
  [[nodiscard]] std::optional<request> next(guest_memory const& memory) {
    if (!ready_ || broken_) return std::nullopt;
    const auto ring = memory.at({available, 6 + 2 * std::uint64_t{size}});
    const auto table = memory.at({descriptors, 16 * std::uint64_t{size}});
    if (ring.empty() || table.empty()) return break_down();
    const auto theirs = std::atomic_ref{number<std::uint16_t>(ring, 2)}.load();
    const auto waiting = static_cast<std::uint16_t>(theirs - taken_);
    if (waiting == 0) return std::nullopt;
    if (waiting > size) return break_down();
    request found;
    found.head = number<std::uint16_t>(ring, 4 + 2 * std::size_t{taken_ % size});
    std::uint16_t at = found.head;
    for (std::uint32_t length = 0;; ++length) {
      if (at >= size || length == size) return break_down();
      descriptor one{};
      std::memcpy(&one, table.data() + 16 * std::size_t{at}, sizeof one);
      if ((one.flags & indirect) != 0 || one.bytes == 0) return break_down();
      const bool for_device = (one.flags & device_writes) != 0;
      if (!for_device && !found.writable.empty()) return break_down();
      (for_device ? found.writable : found.readable).push_back({one.address, one.bytes});
      if ((one.flags & has_next) == 0) break;
      at = one.next;
    }
    ++taken_;
    return found;
  }

  /// The request is done; the device has written `written` bytes.
  void complete(guest_memory const& memory, request const& done, std::uint32_t written) {
    const auto ring = memory.at({used, 6 + 8 * std::uint64_t{size}});
    if (ring.empty()) {
      broken_ = true;
      return;
    }
    const std::size_t at = 4 + 8 * std::size_t{given_ % size};
    number<std::uint32_t>(ring, at) = done.head;
    number<std::uint32_t>(ring, at + 4) = written;
    std::atomic_ref{number<std::uint16_t>(ring, 2)}.store(++given_);
    news_ = true;
  }

 private:
  struct descriptor {
    std::uint64_t address;
    std::uint32_t bytes;
    std::uint16_t flags;
    std::uint16_t next;
  };
  static constexpr std::uint16_t has_next = 1;
  static constexpr std::uint16_t device_writes = 2;
  static constexpr std::uint16_t indirect = 4;

  template <class Number>
  [[nodiscard]] static Number& number(std::span<std::byte> ring, std::size_t offset) {
    return *reinterpret_cast<Number*>(ring.data() + offset);
  }
  [[nodiscard]] std::nullopt_t break_down() noexcept {
    broken_ = true;
    return std::nullopt;
  }

  std::uint16_t taken_ = 0;
  std::uint16_t given_ = 0;
  bool ready_ = false;
  bool broken_ = false;
  bool news_ = false;
};

}  // namespace vmm
