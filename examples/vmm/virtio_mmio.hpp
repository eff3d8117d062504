// SPDX-License-Identifier: BSL-1.0
// virtio over memory-mapped registers, version 2: the registers of one device, and what a device is
// apart from them. Source: virtio 1.2, 4.2.2.
//
//     driver:  features -> queues -> DRIVER_OK -> QueueNotify ...   -> status 0 (reset)
//     device:              start() ............ handle(request)     -> reset()
#pragma once

#include "guest_memory.hpp"
#include "virtqueue.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace vmm {

inline constexpr std::uint64_t virtio_version_1 = std::uint64_t{1} << 32;

/// A device behind a transport, called by one thread at a time.
struct virtio_device {
  virtual ~virtio_device() = default;
  [[nodiscard]] virtual std::uint32_t id() const = 0;
  [[nodiscard]] virtual std::uint64_t features() const = 0;
  [[nodiscard]] virtual std::uint32_t queues() const = 0;
  /// The driver is ready, and has accepted these features.
  virtual void start(std::uint64_t features) = 0;
  /// Handles and completes one request, or keeps it for later. Answers whether it was one: if not,
  /// the device needs a reset.
  virtual bool handle(std::uint32_t which, request const& asked, virtqueue& queue) = 0;
  /// Gives back all that it has from the driver.
  virtual void reset() = 0;
  [[nodiscard]] virtual std::vector<std::byte> configuration() const = 0;
  virtual void write_configuration(std::uint64_t, std::span<std::byte const>) {}
};

class virtio_mmio {
 public:
  static constexpr std::uint64_t bytes = 4096;

  /// `interrupt()` raises the device's interrupt line for a moment.
  virtio_mmio(virtio_device& device, guest_memory const& memory, std::function<void()> interrupt)
      : device_{device}, memory_{memory}, interrupt_{std::move(interrupt)} {
    queues_.resize(device.queues());
  }

  /// Runs `change(queues)` while the guest does nothing to the device; if it answers true, the
  /// guest is told that the configuration has changed.
  template <class Change>
  void with_device(Change change) {
    const std::lock_guard lock{mutex_};
    if (change(std::span{queues_})) raise(configuration_changed);
    raise_if_used();
  }
  [[nodiscard]] bool needs_reset() const {
    const std::lock_guard lock{mutex_};
    return (status_ & device_needs_reset) != 0;
  }

  void read(std::uint64_t offset, std::span<std::byte> into) {
    const std::lock_guard lock{mutex_};
    if (offset >= configuration_at) {
      const auto all = device_.configuration();
      for (std::size_t i = 0; i < into.size(); ++i) {
        const std::size_t at = offset - configuration_at + i;
        into[i] = at < all.size() ? all[at] : std::byte{0};
      }
      return;
    }
    const std::uint32_t value = into.size() == 4 ? read_register(offset) : 0;
    for (std::size_t i = 0; i < into.size(); ++i)
      into[i] = i < 4 ? static_cast<std::byte>(value >> (8 * i) & 0xff) : std::byte{0};
  }
  void write(std::uint64_t offset, std::span<std::byte const> from) {
    const std::lock_guard lock{mutex_};
    if (offset >= configuration_at) {
      device_.write_configuration(offset - configuration_at, from);
    } else if (from.size() == 4) {
      std::uint32_t value = 0;
      for (std::size_t i = 0; i < 4; ++i)
        value |= std::to_integer<std::uint32_t>(from[i]) << (8 * i);
      write_register(offset, value);
    }
  }

 private:
  // registers, in the order of the specification's table
  static constexpr std::uint64_t magic = 0x000, version = 0x004, device_id = 0x008, vendor = 0x00c,
                                 device_features = 0x010, device_features_sel = 0x014,
                                 driver_features = 0x020, driver_features_sel = 0x024,
                                 queue_sel = 0x030, queue_size_max = 0x034, queue_size = 0x038,
                                 queue_ready = 0x044, queue_notify = 0x050,
                                 interrupt_status = 0x060, interrupt_ack = 0x064, status = 0x070,
                                 queue_descriptors = 0x080, queue_available = 0x090,
                                 queue_used = 0x0a0, shared_memory = 0x0b0,
                                 shared_memory_end = 0x0c0, generation = 0x0fc,
                                 configuration_at = 0x100;
  static constexpr std::uint32_t features_ok = 8, driver_ok = 4, device_needs_reset = 64;
  static constexpr std::uint32_t queue_used_some = 1, configuration_changed = 2;

  [[nodiscard]] std::uint32_t read_register(std::uint64_t offset) {
    virtqueue const* const queue = selected();
    switch (offset) {
      case magic: return 0x74726976;  // "virt"
      case version: return 2;
      case device_id: return device_.id();
      case vendor: return 0x52485454;  // "TTHR"
      case device_features: return half(device_.features(), device_half_);
      case queue_size_max: return queue != nullptr ? virtqueue::most : 0;
      case queue_ready: return queue != nullptr && queue->is_ready() ? 1 : 0;
      case interrupt_status: return interrupts_;
      case status: return status_;
      case generation: return generation_;
      default: return offset >= shared_memory && offset < shared_memory_end ? ~0U : 0;
    }
  }

  void write_register(std::uint64_t offset, std::uint32_t value) {
    virtqueue* const queue = selected();
    const auto set_half = [](std::uint64_t& whole, bool high, std::uint32_t to) {
      const unsigned shift = high ? 32 : 0;
      whole = (whole & ~(std::uint64_t{0xffffffff} << shift)) | std::uint64_t{to} << shift;
    };
    switch (offset) {
      case device_features_sel: device_half_ = value; return;
      case driver_features_sel: driver_half_ = value; return;
      case driver_features:
        if (driver_half_ < 2 && (status_ & features_ok) == 0)
          set_half(accepted_, driver_half_ == 1, value);
        return;
      case queue_sel: selected_ = value; return;
      case queue_notify: return notified(value);
      case interrupt_ack: interrupts_ &= ~value; return;
      case status: return set_status(value);
      default: break;
    }
    if (queue == nullptr || (queue->is_ready() && offset != queue_ready)) return;
    switch (offset) {
      case queue_size: queue->size = value; break;
      case queue_descriptors:
      case queue_descriptors + 4: set_half(queue->descriptors, offset % 8 == 4, value); break;
      case queue_available:
      case queue_available + 4: set_half(queue->available, offset % 8 == 4, value); break;
      case queue_used:
      case queue_used + 4: set_half(queue->used, offset % 8 == 4, value); break;
      case queue_ready:
        if (value == 0) *queue = {};
        else queue->begin(memory_);
        if (queue->is_broken()) break_down();
        break;
      default: break;
    }
  }

  void set_status(std::uint32_t value) {
    if (value == 0) {
      device_.reset();
      for (virtqueue& one : queues_) one = {};
      status_ = interrupts_ = selected_ = device_half_ = driver_half_ = 0;
      accepted_ = 0;
      return;
    }
    const bool wants_what_is_not =
        (accepted_ & ~device_.features()) != 0 || (accepted_ & virtio_version_1) == 0;
    if ((value & features_ok) != 0 && wants_what_is_not) value &= ~features_ok;
    const bool starts = (value & driver_ok) != 0 && (status_ & driver_ok) == 0;
    status_ = value | (status_ & device_needs_reset);
    if (starts && (status_ & features_ok) == 0) return break_down();
    if (starts) device_.start(accepted_);
  }

  void notified(std::uint32_t which) {
    if (which >= queues_.size() || (status_ & driver_ok) == 0 ||
        (status_ & device_needs_reset) != 0)
      return;
    virtqueue& queue = queues_[which];
    // no more than a whole ring at once: a guest must not keep this thread by adding more
    for (std::uint32_t done = 0; done < virtqueue::most; ++done) {
      const auto asked = queue.next(memory_);
      if (!asked) break;
      if (!device_.handle(which, *asked, queue)) return break_down();
    }
    if (queue.is_broken()) return break_down();
    raise_if_used();
  }

  void break_down() {
    status_ |= device_needs_reset;
    raise(configuration_changed);
  }
  void raise(std::uint32_t why) {
    if (why == configuration_changed) ++generation_;
    if ((status_ & driver_ok) == 0) return;
    interrupts_ |= why;
    interrupt_();
  }
  void raise_if_used() {
    bool news = false;
    for (virtqueue& one : queues_) news = one.take_news() || news;
    if (news) raise(queue_used_some);
  }
  [[nodiscard]] virtqueue* selected() noexcept {
    return selected_ < queues_.size() ? &queues_[selected_] : nullptr;
  }
  [[nodiscard]] static std::uint32_t half(std::uint64_t whole, std::uint32_t which) noexcept {
    return which > 1 ? 0 : static_cast<std::uint32_t>(whole >> (32 * which));
  }

  virtio_device& device_;
  guest_memory const& memory_;
  std::function<void()> interrupt_;
  mutable std::mutex mutex_;
  std::vector<virtqueue> queues_;
  std::uint64_t accepted_ = 0;
  std::uint32_t status_ = 0;
  std::uint32_t interrupts_ = 0;
  std::uint32_t selected_ = 0;
  std::uint32_t device_half_ = 0;
  std::uint32_t driver_half_ = 0;
  std::uint32_t generation_ = 0;
};

}  // namespace vmm
