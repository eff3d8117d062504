// SPDX-License-Identifier: BSL-1.0
// The interrupts of a VFIO device: what it has of a kind, and how the kernel is told which eventfd
// each of its vectors signals.
//
//     VFIO_PCI_MSIX_IRQ_INDEX    vector 0    1    2    3 ...
//     signal_interrupts(index, 1, {5, 6})    5    6            eventfds
#pragma once

#include <tether/core/errc.hpp>
#include <tether/core/error.hpp>

#include <linux/vfio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>

namespace tether {

/// What a device has of one kind of interrupt. Source: `vfio_irq_info`.
struct vfio_interrupts {
  std::uint32_t vectors = 0;      ///< 0: none of that kind
  bool eventfds = false;          ///< each can signal an eventfd
  bool maskable = false;          ///< each can be masked and unmasked
  bool masked_when_sent = false;  ///< it is masked as it is sent (INTx), until it is unmasked
  bool fixed_once_set = false;    ///< how many are signalled cannot grow until all are disabled

  friend constexpr bool operator==(vfio_interrupts const&,
                                   vfio_interrupts const&) noexcept = default;
};

namespace detail {

[[nodiscard]] constexpr vfio_interrupts as_interrupts(vfio_irq_info const& said) noexcept {
  return {.vectors = said.count,
          .eventfds = (said.flags & VFIO_IRQ_INFO_EVENTFD) != 0,
          .maskable = (said.flags & VFIO_IRQ_INFO_MASKABLE) != 0,
          .masked_when_sent = (said.flags & VFIO_IRQ_INFO_AUTOMASKED) != 0,
          .fixed_once_set = (said.flags & VFIO_IRQ_INFO_NORESIZE) != 0};
}

/// Which of its reasons for EINVAL the kernel had. `why`: with the device's name.
[[nodiscard, gnu::cold]] inline error why_not_signalled(error const& why,
                                                        vfio_interrupts const& there,
                                                        std::uint32_t first,
                                                        std::uint64_t count) noexcept {
  if (first > there.vectors || there.vectors - first < count)
    return error{"set interrupts", errc::unsupported}
        .of(why.subject())
        .advise("it has {} interrupt{|s} of that kind", there.vectors);
  if (there.fixed_once_set)
    return error{"set interrupts", errc::still_in_use}
        .of(why.subject())
        .advise(
            "disable the interrupts of that kind first: this kernel adds none while some are "
            "signalled");
  return why;
}

/// A request to signal eventfds: the kernel's struct, and the eventfds behind it.
/// Cost: for one vector, as for a device with one, no allocation.
class interrupt_request {
 public:
  interrupt_request(std::uint32_t index, std::uint32_t first,
                    std::span<std::int32_t const> eventfds) noexcept {
    begin(index, first, static_cast<std::uint32_t>(eventfds.size()), VFIO_IRQ_SET_DATA_EVENTFD,
          eventfds.size_bytes());
    if (at_ != nullptr)
      std::memcpy(at_ + sizeof(vfio_irq_set), eventfds.data(), eventfds.size_bytes());
  }
  /// Disables all of the index. No data and a count of 0 does that; eventfds of -1 would only
  /// silence vectors.
  explicit interrupt_request(std::uint32_t index) noexcept {
    begin(index, 0, 0, VFIO_IRQ_SET_DATA_NONE, 0);
  }
  interrupt_request(interrupt_request const&) = delete;
  interrupt_request& operator=(interrupt_request const&) = delete;
  ~interrupt_request() { delete[] more_; }

  /// The struct as the kernel takes it; null: not enough memory.
  [[nodiscard]] void* data() noexcept { return at_; }

 private:
  void begin(std::uint32_t index, std::uint32_t first, std::uint32_t count, std::uint32_t kind,
             std::size_t bytes) noexcept {
    vfio_irq_set set{};
    const std::size_t size = sizeof set + bytes;
    if (size > here_.size()) {
      more_ = new (std::nothrow) std::byte[size];
      at_ = more_;
    }
    set.argsz = static_cast<std::uint32_t>(size);
    set.flags = kind | std::uint32_t{VFIO_IRQ_SET_ACTION_TRIGGER};
    set.index = index;
    set.start = first;
    set.count = count;
    if (at_ != nullptr) std::memcpy(at_, &set, sizeof set);
  }

  alignas(vfio_irq_set) std::array<std::byte, sizeof(vfio_irq_set) + sizeof(std::int32_t)> here_{};
  std::byte* more_ = nullptr;  // owned
  std::byte* at_ = here_.data();
};

}  // namespace detail
}  // namespace tether
