// SPDX-License-Identifier: BSL-1.0
// The right to use a device while other threads unplug. A virtual CPU's thread takes a lease, uses the device and lets go;
// whoever closes, detaches or abandons meanwhile is refused, and everything stays as it was.
//
//     vCPU:       auto nic = device.lease();  (*nic)->dma_write(...);   ~lease
//     management: group.detach() -> still_in_use, "1 leases of it are out"      group.detach() -> done
#pragma once

#include <tether/core/error.hpp>

#include <atomic>
#include <cstdint>
#include <string_view>
#include <utility>

namespace tether {

namespace detail {

/// How many leases of one device are out. Given under the container's lock, so that none is once its device is on its way out; taken back
/// on any thread without one.
class lease_count {
 public:
  void give() noexcept { out_.fetch_add(1, std::memory_order_relaxed); }
  /// The last thing that its holder does with the device.
  void take_back() noexcept { out_.fetch_sub(1, std::memory_order_release); }
  /// Where it answers 0, all that was done by leases has happened before.
  [[nodiscard]] std::uint32_t out() const noexcept { return out_.load(std::memory_order_acquire); }
  /// Why an operation is refused: the device, and how many are out.
  [[nodiscard, gnu::cold, gnu::noinline]] error in_the_way_of(const char* operation, std::string_view device) const noexcept {
    return error{operation, errc::still_in_use}.of(device).advise("{} leases of it are out: let go of them first", out());
  }

 private:
  std::atomic<std::uint32_t> out_{0};
};

}  // namespace detail

/// A device that nobody closes or detaches while this lives. Move-only; may be moved to another thread, and ends on any.
/// Requires: it ends before its container does, or the program is stopped (tether[D1]).
/// Cost: ending it is one atomic subtraction. Keep it for a request or a batch of them: until it ends an unplug has to wait.
template <class Device>
class [[nodiscard]] device_lease {
 public:
  /// For the container.
  device_lease(Device& device, detail::lease_count& of) noexcept : device_{&device}, of_{&of} { of.give(); }
  device_lease(device_lease&& other) noexcept : device_{std::exchange(other.device_, nullptr)}, of_{std::exchange(other.of_, nullptr)} {}
  device_lease& operator=(device_lease&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(of_, other.of_);
    return *this;
  }
  ~device_lease() {
    if (of_ != nullptr) of_->take_back();
  }

  /// Requires: not moved from.
  [[nodiscard]] Device* operator->() const noexcept { return device_; }
  [[nodiscard]] Device& operator*() const noexcept { return *device_; }

 private:
  Device* device_;
  detail::lease_count* of_;
};

}  // namespace tether
