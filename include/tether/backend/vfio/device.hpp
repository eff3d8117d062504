// SPDX-License-Identifier: BSL-1.0
// A minimal VFIO device: regions, configuration space, BARs, bus mastering, reset and interrupts
// through an eventfd. Enough to drive a real device.
#pragma once

#include <tether/backend/vfio/device_state.hpp>
#include <tether/core/error.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/kernel_handles.hpp>
#include <tether/fwd.hpp>

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace tether {

/// One of a device's regions: a BAR, the ROM, the configuration space.
struct vfio_region {
  std::uint64_t size = 0;    ///< bytes; 0: not there
  std::uint64_t offset = 0;  ///< where it begins in the device's descriptor
  bool mappable = false;
};

/// A BAR that is mapped into this process. Unmaps itself. While it exists its device cannot be
/// closed, because the kernel would keep the group busy (measured); a device that is destroyed
/// anyway stays open until its last view is destroyed, on any thread.
template <class Kernel>
class basic_bar_view {
 public:
  basic_bar_view(basic_bar_view&& other) noexcept
      : device_{std::exchange(other.device_, nullptr)}, area_{std::move(other.area_)} {}
  basic_bar_view& operator=(basic_bar_view&&) = delete;
  ~basic_bar_view() {
    area_ = {};
    if (device_ != nullptr && device_->views.drop_view()) delete device_;
  }

  [[nodiscard]] std::uint64_t size() const noexcept { return area_.size(); }
  /// Reads or writes a register of the width of `T`. Requires: `offset` is aligned to it and
  /// inside.
  template <class T>
  [[nodiscard]] T read(std::uint64_t offset) const noexcept {
    return *area_.template as<T const volatile>(offset);
  }
  template <class T>
  void write(std::uint64_t offset, std::type_identity_t<T> value) const noexcept {
    *area_.template as<T volatile>(offset) = value;
  }

 private:
  template <class>
  friend class basic_vfio_device;
  basic_bar_view(detail::vfio_device_state<Kernel>& device, kernel_area<Kernel> area) noexcept
      : device_{&device}, area_{std::move(area)} {
    device_->views.add();
  }

  detail::vfio_device_state<Kernel>* device_;
  kernel_area<Kernel> area_;
};

/// An open device. Move-only; closed by its container.
template <class Kernel>
class basic_vfio_device {
 public:
  basic_vfio_device(basic_vfio_device&& other) noexcept = default;
  basic_vfio_device& operator=(basic_vfio_device&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~basic_vfio_device() {
    if (state_ != nullptr && state_->views.drop_handle()) static_cast<void>(state_.release());
  }

  /// Opens a device through its group's descriptor. Fails: `no_such_device`, the kernel's errno.
  [[nodiscard]] static result<basic_vfio_device> open(int group, std::string_view name) noexcept
      try {
    auto state = std::make_unique<detail::vfio_device_state<Kernel>>();
    state->name = name;
    const auto answer =
        Kernel::call(SYS_ioctl, group, VFIO_GROUP_GET_DEVICE_FD, state->name.c_str());
    if (answer == -ENODEV) {
      return failure(error{"open device", errc::no_such_device}.of(name).advise(
          "it is not in this group, or not bound: write vfio-pci to its driver_override, then its "
          "address to drivers/vfio-pci/bind"));
    }
    if (answer < 0)
      return failure(error::from_errno("open device", static_cast<int>(-answer)).of(name));
    state->descriptor = kernel_descriptor<Kernel>{answer};
    return basic_vfio_device{std::move(state)};
  } catch (std::bad_alloc const&) {
    return failure(error::out_of_memory("open device").of(name));
  }
  /// Takes ownership of a descriptor of the device's own node. The kernel refuses almost every
  /// request until it is bound to an iommufd. Fails: not enough memory.
  [[nodiscard]] static result<basic_vfio_device> adopt(kernel_descriptor<Kernel> node,
                                                       std::string_view name) noexcept try {
    auto state = std::make_unique<detail::vfio_device_state<Kernel>>();
    state->name = name;
    state->descriptor = std::move(node);
    return basic_vfio_device{std::move(state)};
  } catch (std::bad_alloc const&) {
    return failure(error::out_of_memory("open device").of(name));
  }

  [[nodiscard]] std::string_view name() const noexcept { return state_->name; }
  /// For interfaces that tether does not wrap. Owned by the device. Negative once it is closed.
  [[nodiscard]] int descriptor() const noexcept { return state_->descriptor.number(); }
  /// BARs that are mapped now.
  [[nodiscard]] unsigned views() const noexcept { return state_->views.count(); }

  /// `index` is VFIO's: 0 to 5 the BARs, `VFIO_PCI_CONFIG_REGION_INDEX` the configuration space.
  [[nodiscard]] result<vfio_region> region(std::uint32_t index) const noexcept {
    vfio_region_info info{};
    info.argsz = sizeof info;
    info.index = index;
    if (auto done = control("read region info", VFIO_DEVICE_GET_REGION_INFO, &info); !done)
      return failure(done.error());
    return vfio_region{info.size, info.offset, (info.flags & VFIO_REGION_INFO_FLAG_MMAP) != 0};
  }

  /// Maps a BAR. Fails: `unsupported` if it is absent or cannot be mapped, the kernel's errno.
  [[nodiscard]] result<basic_bar_view<Kernel>> map_bar(std::uint32_t index) noexcept {
    auto info = region(index);
    if (!info) return failure(info.error());
    if (info->size == 0 || !info->mappable) {
      return failure(error{"map BAR", errc::unsupported}.of(name()).advise(
          "region {} cannot be mapped", index));
    }
    const auto at =
        Kernel::mmap(info->size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor(), info->offset);
    if (at < 0) return failure(error::from_errno("map BAR", static_cast<int>(-at)).of(name()));
    return basic_bar_view<Kernel>{*state_, kernel_area<Kernel>{at, info->size}};
  }

  /// Reads or writes configuration space, little-endian as PCI has it. `offset` in bytes.
  template <class T>
  [[nodiscard]] result<T> read_config(std::uint64_t offset) const noexcept {
    T value{};
    auto done = transfer_config(SYS_pread64, &value, sizeof value, offset);
    if (!done) return failure(done.error());
    return value;
  }
  template <class T>
  result<void> write_config(std::uint64_t offset, std::type_identity_t<T> value) noexcept {
    return transfer_config(SYS_pwrite64, &value, sizeof value, offset);
  }

  /// Enables memory space (BARs) and bus mastering (DMA).
  result<void> enable_bus_mastering() noexcept {
    auto command = read_config<std::uint16_t>(PCI_COMMAND);
    if (!command) return failure(command.error());
    return write_config<std::uint16_t>(
        PCI_COMMAND,
        static_cast<std::uint16_t>(*command | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER));
  }
  /// Fails: `unsupported` where the device has no reset of its own.
  [[nodiscard]] result<void> reset() noexcept {
    const auto answer = Kernel::call(SYS_ioctl, descriptor(), VFIO_DEVICE_RESET);
    if (answer == -EINVAL || answer == -ENOTTY)
      return failure(error{"reset device", errc::unsupported}.of(name()));
    if (answer < 0)
      return failure(error::from_errno("reset device", static_cast<int>(-answer)).of(name()));
    return {};
  }

  /// Signals `eventfd` at each interrupt; negative: disables the index. `index` is VFIO's:
  /// `VFIO_PCI_INTX_IRQ_INDEX`, `VFIO_PCI_MSI_IRQ_INDEX`, `VFIO_PCI_REQ_IRQ_INDEX` (the kernel asks
  /// for the device back), ...
  [[nodiscard]] result<void> signal_interrupts(std::uint32_t index, std::int32_t eventfd) noexcept {
    alignas(vfio_irq_set) std::array<std::byte, sizeof(vfio_irq_set) + sizeof eventfd> room{};
    vfio_irq_set set{};
    // No data and a count of 0 disables the index; an eventfd of -1 would only silence one of its
    // vectors.
    const bool off = eventfd < 0;
    set.argsz = static_cast<std::uint32_t>(off ? sizeof set : room.size());
    set.flags =
        (off ? std::uint32_t{VFIO_IRQ_SET_DATA_NONE} : std::uint32_t{VFIO_IRQ_SET_DATA_EVENTFD}) |
        VFIO_IRQ_SET_ACTION_TRIGGER;
    set.index = index;
    set.count = off ? 0 : 1;
    std::memcpy(room.data(), &set, sizeof set);
    std::memcpy(room.data() + sizeof set, &eventfd, sizeof eventfd);
    return control("set interrupts", VFIO_DEVICE_SET_IRQS, room.data());
  }

  /// Fails: `stale_handle` if it is closed already; `still_in_use` while a BAR is mapped, and it
  /// stays open.
  [[nodiscard]] result<void> close() noexcept {
    if (state_ == nullptr || state_->descriptor.number() < 0)
      return failure(error{"close device", errc::stale_handle});
    if (const unsigned mapped = state_->views.count(); mapped != 0) {
      return failure(error{"close device", errc::still_in_use}.of(name()).advise(
          "{} of its BARs are still mapped", mapped));
    }
    state_->descriptor = {};
    return {};
  }
  /// For the backend that opened it. Null if moved from.
  [[nodiscard]] detail::vfio_device_state<Kernel>* state() const noexcept { return state_.get(); }

 private:
  explicit basic_vfio_device(std::unique_ptr<detail::vfio_device_state<Kernel>> state) noexcept
      : state_{std::move(state)} {}

  result<void> control(const char* operation, unsigned long request,
                       void* argument) const noexcept {
    const auto answer = Kernel::call(SYS_ioctl, descriptor(), request, argument);
    if (answer < 0)
      return failure(error::from_errno(operation, static_cast<int>(-answer)).of(name()));
    return {};
  }
  result<void> transfer_config(long call, void* value, std::uint64_t bytes,
                               std::uint64_t offset) const noexcept {
    auto config = region(VFIO_PCI_CONFIG_REGION_INDEX);
    if (!config) return failure(config.error());
    if (offset > config->size || config->size - offset < bytes) {
      return failure(error{"access configuration space", errc::past_the_end}.of(name()));
    }
    const auto answer = Kernel::call(call, descriptor(), value, bytes, config->offset + offset);
    if (answer < 0)
      return failure(
          error::from_errno("access configuration space", static_cast<int>(-answer)).of(name()));
    if (static_cast<std::uint64_t>(answer) != bytes)
      return failure(error::from_errno("access configuration space", EIO).of(name()));
    return {};
  }

  std::unique_ptr<detail::vfio_device_state<Kernel>> state_;
};

/// A device and a mapped BAR of it, on Linux itself.
using vfio_device = basic_vfio_device<>;
using bar_view = basic_bar_view<>;

}  // namespace tether
