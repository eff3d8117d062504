// SPDX-License-Identifier: BSL-1.0
// A BAR of a device, or an area of it, mapped into this process: how its registers are read and
// written without a call to the kernel. Which areas there are: `region.hpp`.
#pragma once

#include <tether/backend/vfio/device_state.hpp>
#include <tether/core/address.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/kernel_handles.hpp>
#include <tether/fwd.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace tether {

/// A BAR, or an area of it, that is mapped into this process. Unmaps itself. While it exists its
/// device cannot be closed, because the kernel would keep the group busy (measured); a device that
/// is destroyed anyway, or its container, stays open until its last view is destroyed, on any
/// thread. That one ends what the container began: it may make a dozen system calls, free memory,
/// and lower holds in the container's gate, if that is still there.
template <class Kernel>
class basic_bar_view {
 public:
  basic_bar_view(basic_bar_view&& other) noexcept
      : device_{std::exchange(other.device_, nullptr)},
        first_{other.first_},
        area_{std::move(other.area_)} {}
  basic_bar_view& operator=(basic_bar_view&&) = delete;
  ~basic_bar_view() {
    area_ = {};
    if (device_ != nullptr) device_->end_view();
  }

  /// Where it begins in the BAR, 0 for a whole one, and how long it is. Units: bytes.
  [[nodiscard]] std::uint64_t first() const noexcept { return first_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return area_.size(); }
  /// Where it is mapped in this process, for a KVM memory slot, or for a block that borrows it as
  /// `memory_kind::device` (`region::ram_device`). Requires: nobody uses it when the view is gone.
  [[nodiscard]] host_address host() const noexcept {
    return host_address{reinterpret_cast<std::uintptr_t>(area_.template as<std::byte>())};
  }
  /// Reads or writes a register of the width of `T`. `offset` is the BAR's own, also in an area of
  /// it. Requires: it is aligned to the width and inside.
  template <class T>
  [[nodiscard]] T read(std::uint64_t offset) const noexcept {
    return *area_.template as<T const volatile>(offset - first_);
  }
  template <class T>
  void write(std::uint64_t offset, std::type_identity_t<T> value) const noexcept {
    *area_.template as<T volatile>(offset - first_) = value;
  }

 private:
  template <class>
  friend class basic_vfio_device;
  basic_bar_view(detail::vfio_device_state<Kernel>& device, std::uint64_t first,
                 kernel_area<Kernel> area) noexcept
      : device_{&device}, first_{first}, area_{std::move(area)} {
    device_->views.add();
  }

  detail::vfio_device_state<Kernel>* device_;
  std::uint64_t first_;
  kernel_area<Kernel> area_;
};

/// A mapped BAR, on Linux itself.
using bar_view = basic_bar_view<>;

}  // namespace tether
