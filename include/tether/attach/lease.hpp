// SPDX-License-Identifier: BSL-1.0
// The right to use a device while other threads unplug. A vCPU thread takes a lease, uses the
// device and ends the lease; a close, detach or abandon meanwhile is refused and changes nothing.
//
//     vCPU:        auto nic = must(device.lease());  nic->dma_write(...);   ~lease
//     management:                    group.detach() -> still_in_use         group.detach() -> done
#pragma once

#include <tether/core/error.hpp>

#include <atomic>
#include <cstdint>
#include <string_view>
#include <utility>

namespace tether {

namespace detail {

/// Counts the outstanding leases of one device. Given under the lock of the container's records,
/// so that none is given while the device is being removed; ended on any thread, without a lock.
class lease_count {
 public:
  void count_one() noexcept { out_.fetch_add(1, std::memory_order_relaxed); }
  /// Ends a lease. Requires: its holder does not use the device afterwards.
  void uncount_one() noexcept { out_.fetch_sub(1, std::memory_order_release); }
  /// If it returns 0, everything that was done through leases happens before.
  [[nodiscard]] std::uint32_t out() const noexcept { return out_.load(std::memory_order_acquire); }
  /// Why an operation on `subject` is refused, and how many are outstanding.
  [[nodiscard, gnu::cold, gnu::noinline]] error in_the_way_of(
      const char* operation, std::string_view subject) const noexcept {
    return error{operation, errc::still_in_use}.of(subject).advise(
        "{} lease{|s} of the device {is|are} out: let go of {it|them} first", out());
  }

 private:
  std::atomic<std::uint32_t> out_{0};
};

}  // namespace detail

/// A device that cannot be closed or detached while this lives. Move-only; may be moved to, and end
/// on, any thread.
/// Requires: it ends before its container does, or the program is stopped (tether[D1]).
/// Cost: ending it is one atomic subtraction. Keep it for a request or a batch of them: until it
/// ends, an unplug is refused.
template <class Device>
class [[nodiscard]] device_lease {
 public:
  /// For the container.
  device_lease(Device& device, detail::lease_count& of) noexcept : device_{&device}, of_{&of} {
    of.count_one();
  }
  device_lease(device_lease&& other) noexcept
      : device_{std::exchange(other.device_, nullptr)}, of_{std::exchange(other.of_, nullptr)} {}
  device_lease& operator=(device_lease&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(of_, other.of_);
    return *this;
  }
  ~device_lease() {
    if (of_ != nullptr) of_->uncount_one();
  }

  /// Requires: not moved from.
  [[nodiscard]] Device* operator->() const noexcept { return device_; }
  [[nodiscard]] Device& operator*() const noexcept { return *device_; }

 private:
  Device* device_;
  detail::lease_count* of_;
};

}  // namespace tether
