// SPDX-License-Identifier: BSL-1.0
// A VFIO device in a fake kernel, whichever interface maps for it: one BAR and configuration space,
// in a file.
#pragma once

#include <tether/core/address.hpp>

#include <linux/vfio.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace tether_test {

inline constexpr std::uint64_t fake_bar_size = 64 * tether::KiB;
inline constexpr std::uint64_t fake_config_size = 256;

/// What any device answers: its regions, reset and interrupts.
[[nodiscard]] inline std::int64_t control_fake_device(unsigned long request, void* argument) {
  if (request == VFIO_DEVICE_RESET) return -EINVAL;
  if (request == VFIO_DEVICE_SET_IRQS) {
    vfio_irq_set set{};
    std::memcpy(&set, argument, sizeof set);
    const bool off = (set.flags & VFIO_IRQ_SET_DATA_NONE) != 0 && set.count == 0;
    const bool on = (set.flags & VFIO_IRQ_SET_DATA_EVENTFD) != 0 && set.count == 1 &&
                    set.argsz == sizeof set + sizeof(int);
    return set.index <= VFIO_PCI_MSI_IRQ_INDEX && (off || on) ? 0 : -EINVAL;
  }
  if (request != VFIO_DEVICE_GET_REGION_INFO) return -ENOTTY;
  vfio_region_info info{};
  std::memcpy(&info, argument, sizeof info);
  if (info.argsz < sizeof info || info.index > VFIO_PCI_CONFIG_REGION_INDEX) return -EINVAL;
  if (info.index == VFIO_PCI_BAR0_REGION_INDEX) {
    info.flags =
        VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE | VFIO_REGION_INFO_FLAG_MMAP;
    info.size = fake_bar_size;
  } else if (info.index == VFIO_PCI_CONFIG_REGION_INDEX) {
    info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    info.size = fake_config_size;
    info.offset = fake_bar_size;
  }
  std::memcpy(argument, &info, sizeof info);
  return 0;
}

/// The arguments of a system call as a kernel gets them.
template <class... Arguments>
[[nodiscard]] std::array<std::uintptr_t, 4> in_words(Arguments... arguments) noexcept {
  std::array<std::uintptr_t, 4> words{};
  std::size_t at = 0;
  const auto put = [&](auto one) {
    if constexpr (std::is_pointer_v<decltype(one)>)
      words[at++] = reinterpret_cast<std::uintptr_t>(one);
    else words[at++] = static_cast<std::uintptr_t>(one);
  };
  (put(arguments), ...);
  return words;
}

}  // namespace tether_test
