// SPDX-License-Identifier: BSL-1.0
// A pair of NVMe queues: commands go into one ring, completions come out of another, and both rings
// are memory that the device reads and writes by DMA. Source: NVM Express base specification 1.4,
// sections 4.1, 4.2, 4.6.
//
//     submission ring   [ | | |command| | ]     tail doorbell: there is one more
//     completion ring   [ |completion| | | ]    its phase bit flips: it is new
#pragma once

#include <tether/backend/vfio/bar_view.hpp>
#include <tether/core/address.hpp>
#include <tether/core/error.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <poll.h>
#include <unistd.h>

namespace nvme {

/// As the device reads it. Little-endian, as this machine is.
struct command {
  std::uint8_t opcode = 0;
  std::uint8_t flags = 0;
  std::uint16_t id = 0;
  std::uint32_t space = 0;  ///< the namespace: one disk of the device
  std::array<std::uint64_t, 2> unused{};
  std::array<std::uint64_t, 2> pages{};  ///< PRP 1 and 2: where its data is, by I/O address
  std::array<std::uint32_t, 6> words{};  ///< CDW10 to CDW15
};
static_assert(sizeof(command) == 64);

/// As the device writes it.
struct completion {
  std::uint32_t value = 0;
  std::uint32_t unused = 0;
  std::uint16_t head = 0;
  std::uint16_t queue = 0;
  std::uint16_t id = 0;
  std::uint16_t status = 0;  ///< bit 0 is the phase
};
static_assert(sizeof(completion) == 16);

/// One pair, with one command under way at a time.
class queue_pair {
 public:
  static constexpr std::uint32_t entries = 64;
  static constexpr std::uint64_t page = 4096;
  static constexpr std::uint64_t size = 2 * page;  ///< of its memory: a page for each ring
  static constexpr std::chrono::seconds patience{10};

  /// `memory`: zeros, mapped for the device. `stride`: between doorbells, in bytes.
  queue_pair(std::byte* memory, tether::bar_view const& registers, std::uint32_t number,
             std::uint64_t stride) noexcept
      : memory_{memory},
        registers_{registers},
        doorbell_{0x1000 + 2 * number * stride},
        stride_{stride} {}

  /// Does one command. Polls for its completion, or, where `eventfd` is one, waits for the
  /// interrupt that signals it. Fails: ETIMEDOUT; EIO with the status that the device gave.
  tether::result<std::uint32_t> run(char const* what, command one, int eventfd = -1) noexcept {
    one.id = next_id_++;
    std::memcpy(memory_ + tail_ * sizeof one, &one, sizeof one);
    tail_ = (tail_ + 1) % entries;
    std::atomic_thread_fence(std::memory_order_seq_cst);  // the entry is there before the doorbell
    registers_.write<std::uint32_t>(doorbell_, tail_);

    const auto deadline = std::chrono::steady_clock::now() + patience;
    do {
      if (eventfd >= 0 && !signalled(eventfd)) {
        return tether::failure(
            tether::error::from_errno(what, ETIMEDOUT).advise("no interrupt came"));
      }
      if (std::chrono::steady_clock::now() > deadline)
        return tether::failure(tether::error::from_errno(what, ETIMEDOUT));
    } while (!completed());
    std::atomic_thread_fence(std::memory_order_seq_cst);  // and its data, too
    completion done;
    std::memcpy(&done, ring_entry(), sizeof done);
    if (++head_ == entries) {
      head_ = 0;
      phase_ ^= 1U;
    }
    registers_.write<std::uint32_t>(doorbell_ + stride_, head_);
    if (const std::uint32_t status = done.status >> 1U; status != 0)
      return tether::failure(tether::error::from_errno(what, EIO).advise(
          "the device answered with status {}", status));
    return done.value;
  }

 private:
  [[nodiscard]] std::byte* ring_entry() const noexcept {
    return memory_ + page + head_ * sizeof(completion);
  }
  [[nodiscard]] bool completed() const noexcept {
    auto* const status =
        reinterpret_cast<std::uint16_t*>(ring_entry() + offsetof(completion, status));
    return (std::atomic_ref{*status}.load(std::memory_order_acquire) & 1U) == phase_;
  }
  /// Waits for a signal, and takes it.
  [[nodiscard]] static bool signalled(int eventfd) noexcept {
    pollfd one{eventfd, POLLIN, 0};
    std::uint64_t count = 0;
    return ::poll(&one, 1, std::chrono::milliseconds{patience}.count()) == 1 &&
           ::read(eventfd, &count, sizeof count) == sizeof count;
  }

  std::byte* memory_;
  tether::bar_view const& registers_;
  std::uint64_t doorbell_;
  std::uint64_t stride_;
  std::uint32_t tail_ = 0;
  std::uint32_t head_ = 0;
  std::uint32_t phase_ = 1;
  std::uint16_t next_id_ = 0;
};

}  // namespace nvme
