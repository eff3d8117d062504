// SPDX-License-Identifier: BSL-1.0
// An open endpoint of an `io_uring_buffers` backend: a DMA engine whose bytes the kernel moves,
// into and out of the pages that the *kernel* pinned. If the process's page tables have changed
// since, the two see different memory: that is the corruption this library prevents.
#pragma once

#include <tether/backend/detail/iova_table.hpp>
#include <tether/backend/emulated/endpoint_registry.hpp>
#include <tether/backend/io_uring/pins.hpp>
#include <tether/core/detail/process_mark.hpp>
#include <tether/core/error.hpp>
#include <tether/core/extent.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/mapping.hpp>
#include <tether/fwd.hpp>

#include <linux/io_uring.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>

namespace tether {

template <class Kernel>
class basic_io_uring_buffers;

/// The device. Move-only; closed on destruction. Requires: the backend outlives it. One thread may
/// use it while the backend maps, unmaps or closes on another. In a child of a fork it does nothing
/// but close, without touching the parent's.
/// An endpoint that pins uses the mappings' own slots; one that `pins_on_demand` pins what a
/// request uses and unpins it before the request ends.
template <class Kernel>
class basic_io_uring_device {
 public:
  basic_io_uring_device(basic_io_uring_device&& other) noexcept
      : pins_{other.pins_}, opened_{std::exchange(other.opened_, {})} {}
  basic_io_uring_device& operator=(basic_io_uring_device&& other) noexcept {
    if (this != &other) {
      close();
      pins_ = other.pins_;
      opened_ = std::exchange(other.opened_, {});
    }
    return *this;
  }
  ~basic_io_uring_device() { close(); }

  /// Empty once closed. Valid until its group leaves.
  [[nodiscard]] std::string_view name() const noexcept {
    const auto lock = pins_->lock();
    return opened_.name();
  }

  /// The device reads memory. Fails, moving nothing: `not_mapped`, `access_denied`,
  /// `invalid_extent`, `stale_handle` once closed. Fails, perhaps half way: the kernel's errno.
  [[nodiscard]] result<void> dma_read(io_address at, std::span<std::byte> into) noexcept {
    return transfer("DMA read", access::read, at, into.size(), [&](chunk const& what) noexcept {
      const answer moved = pins_->ring.move(IORING_OP_WRITE_FIXED, what.slot, what.host, what.size);
      if (moved >= 0) std::memcpy(into.data() + what.done, pins_->ring.scratch(), what.size);
      return moved;
    });
  }
  /// The device writes memory. Fails as `dma_read` does.
  [[nodiscard]] result<void> dma_write(io_address at, std::span<std::byte const> from) noexcept {
    return transfer("DMA write", access::write, at, from.size(), [&](chunk const& what) noexcept {
      std::memcpy(pins_->ring.scratch(), from.data() + what.done, what.size);
      return pins_->ring.move(IORING_OP_READ_FIXED, what.slot, what.host, what.size);
    });
  }

 private:
  friend class basic_io_uring_buffers<Kernel>;
  using answer = typename Kernel::answer;

  /// What one io_uring request transfers: `done` bytes of the access precede it.
  struct chunk {
    std::uint32_t slot;
    host_address host;
    std::uint64_t done;
    std::uint64_t size;
  };

  basic_io_uring_device(detail::io_uring_pins<Kernel>& pins, detail::open_endpoint opened) noexcept
      : pins_{&pins}, opened_{opened} {}

  /// A device that is closed already takes no lock: no other thread uses a device that is being
  /// destroyed or assigned, and `open` moves one while it holds the lock.
  void close() noexcept {
    if (!opened_) return;
    const auto lock = pins_->lock();
    detail::endpoint_registry::close(opened_);
  }

  [[nodiscard]] auto failed(const char* operation, answer why,
                            extent<io_address> where) const noexcept {
    return failure(pins_->failed(operation, why).at(where));
  }

  template <class Move>
  result<void> transfer(const char* operation, access wanted, io_address at, std::uint64_t bytes,
                        Move move) noexcept {
    const auto lock = pins_->lock();
    if (pins_->is_inherited()) return failure(detail::inherited(operation));
    if (!opened_)
      return failure(error{operation, errc::stale_handle}.advise("the device is closed"));
    if (bytes == 0) return {};
    const auto range = extent<io_address>::of(at, bytes);
    if (!range)
      return failure(error{operation, errc::invalid_extent}.at(extent<io_address>{at, at}));
    const auto run = pins_->table.covering(*range);
    if (!run) return failure(error{operation, errc::not_mapped}.at(*range));
    for (std::size_t row = run->from; row != run->to; row = pins_->table.next(row)) {
      if (!allows(pins_->table[row].rights, wanted))
        return failure(error{operation, errc::access_denied}.at(*range));
    }
    if (const answer waited = pins_->wait_for_requests(); waited < 0)
      return failed(operation, waited, *range);
    std::uint64_t done = 0;
    for (std::size_t row = run->from; row != run->to; row = pins_->table.next(row)) {
      const auto part = *range->intersection(pins_->table.where(row));
      auto [slot, room] = pins_->slot_at(row, part.first);
      for (io_address next = part.first; done != bytes && part.contains(next);) {
        if (room == 0) std::tie(slot, room) = pins_->slot_after(row, slot, next);
        const std::uint64_t size =
            std::min({room, bytes - done, detail::io_uring_ring<Kernel>::scratch_size});
        const answer moved = move_chunk({slot, pins_->table[row].host_at(next), done, size}, move);
        if (moved < 0) return failed(operation, moved, *range);
        done += size;
        next = next + size;
        room -= size;
      }
    }
    return {};
  }

  template <class Move>
  [[nodiscard]] answer move_chunk(chunk const& what, Move move) noexcept {
    if (opened_.pins == pin_class::pins) return move(what);
    return pins_->with_spare(what.host, what.size, [&](std::uint32_t spare) noexcept {
      return move(chunk{spare, what.host, what.done, what.size});
    });
  }

  detail::io_uring_pins<Kernel>* pins_;
  detail::open_endpoint opened_;
};

/// The device of `io_uring_buffers`, on Linux itself.
using io_uring_device = basic_io_uring_device<>;

}  // namespace tether
