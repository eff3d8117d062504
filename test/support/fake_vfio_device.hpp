// SPDX-License-Identifier: BSL-1.0
// A VFIO device in a fake kernel, whichever interface maps for it: BARs and configuration space, in
// a file. BAR 0 can be mapped whole, BAR 2 but for its MSI-X table, BAR 3 not at all although it
// says so, BAR 4 not at all.
//
//     BAR 2 |== 8 KiB ==|-- 12 KiB: table --|=== 12 KiB ===|
#pragma once

#include <tether/core/address.hpp>

#include <linux/vfio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

namespace tether_test {

inline constexpr std::uint64_t fake_bar_size = 64 * tether::KiB;
inline constexpr std::uint64_t fake_config_size = 256;

inline constexpr std::uint64_t fake_sparse_bar = 2 * fake_bar_size;  // where BAR 2 is in the file
inline constexpr std::uint64_t fake_sparse_bar_size = 32 * tether::KiB;
inline constexpr std::uint64_t fake_device_size = fake_sparse_bar + fake_sparse_bar_size;
inline constexpr std::array fake_areas{
    vfio_region_sparse_mmap_area{0, 8 * tether::KiB},
    vfio_region_sparse_mmap_area{16 * tether::KiB, 0},  // some drivers list such
    vfio_region_sparse_mmap_area{20 * tether::KiB, 12 * tether::KiB}};

/// Whether the driver lets this part of a device's file be mapped; else it answers EINVAL.
[[nodiscard]] inline bool fake_device_maps(std::uint64_t offset, std::uint64_t size) {
  if (offset < fake_sparse_bar) return size <= fake_bar_size;
  return std::ranges::any_of(fake_areas, [&](auto const& area) {
    const std::uint64_t first = fake_sparse_bar + area.offset;
    return offset >= first && offset - first < area.size && size <= area.size - (offset - first);
  });
}

/// BARs 2 and 3: a chain of two capabilities behind the struct, as far as there is room.
[[nodiscard]] inline std::int64_t tell_fake_areas(vfio_region_info info, void* argument) {
  std::vector<std::byte> said;
  const auto append = [&](auto const& part) {
    const auto* const bytes = reinterpret_cast<std::byte const*>(&part);
    said.insert(said.end(), bytes, bytes + sizeof part);
  };
  const auto areas = info.index == VFIO_PCI_BAR2_REGION_INDEX ? std::span{fake_areas}
                                                              : std::span{fake_areas}.subspan(1, 1);
  const std::uint32_t room = info.argsz;
  constexpr std::uint32_t first = sizeof info;
  constexpr std::uint32_t second = first + sizeof(vfio_info_cap_header);
  info.argsz = static_cast<std::uint32_t>(second + sizeof(vfio_region_info_cap_sparse_mmap) +
                                          areas.size_bytes());
  info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
               VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
  info.cap_offset = room < info.argsz ? 0 : first;
  append(info);
  append(vfio_info_cap_header{VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, 1, second});
  // Its struct ends in an array of no elements, so it is written in parts.
  append(vfio_info_cap_header{VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, 0});
  append(std::array<std::uint32_t, 2>{static_cast<std::uint32_t>(areas.size()), 0});
  for (auto const& area : areas) append(area);
  std::memcpy(argument, said.data(), room < info.argsz ? sizeof info : said.size());
  return 0;
}

/// How many vectors a device has of each kind: INTx, MSI, MSI-X. No more of MSI-X can be signalled
/// than at first, as with Linux before 6.4.
inline constexpr std::array<std::uint32_t, 3> fake_vectors{1, 4, 8};
/// Which eventfd each vector signals, by kind; empty: the kind is disabled.
[[nodiscard]] inline std::array<std::vector<std::int32_t>, 3>& fake_eventfds() {
  static std::array<std::vector<std::int32_t>, 3> set;
  return set;
}
[[nodiscard]] inline std::int64_t tell_fake_interrupts(void* argument) {
  vfio_irq_info info{};
  std::memcpy(&info, argument, sizeof info);
  if (info.argsz < sizeof info || info.index >= fake_vectors.size()) return -EINVAL;
  info.count = fake_vectors[info.index];
  info.flags = VFIO_IRQ_INFO_EVENTFD;
  if (info.index == VFIO_PCI_INTX_IRQ_INDEX)
    info.flags |= VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
  if (info.index == VFIO_PCI_MSIX_IRQ_INDEX) info.flags |= VFIO_IRQ_INFO_NORESIZE;
  std::memcpy(argument, &info, sizeof info);
  return 0;
}
[[nodiscard]] inline std::int64_t set_fake_interrupts(void const* argument) {
  vfio_irq_set set{};
  std::memcpy(&set, argument, sizeof set);
  if (set.index >= fake_vectors.size()) return -EINVAL;
  auto& now = fake_eventfds()[set.index];
  if ((set.flags & VFIO_IRQ_SET_DATA_NONE) != 0 && set.count == 0 && set.argsz == sizeof set) {
    now.clear();
    return 0;
  }
  const std::uint64_t end = std::uint64_t{set.start} + set.count;
  if ((set.flags & VFIO_IRQ_SET_DATA_EVENTFD) == 0 || set.count == 0 ||
      set.argsz != sizeof set + set.count * sizeof(std::int32_t) || end > fake_vectors[set.index] ||
      (set.index == VFIO_PCI_MSIX_IRQ_INDEX && !now.empty() && end > now.size()))
    return -EINVAL;
  if (now.size() < end) now.resize(end, -1);
  std::memcpy(now.data() + set.start, static_cast<std::byte const*>(argument) + sizeof set,
              set.count * sizeof(std::int32_t));
  return 0;
}

/// What any device answers: its regions, reset (it has none of its own) and interrupts.
[[nodiscard]] inline std::int64_t control_fake_device(unsigned long request, void* argument) {
  if (request == VFIO_DEVICE_RESET) return -EINVAL;
  if (request == VFIO_DEVICE_GET_INFO) {
    vfio_device_info info{};
    info.argsz = sizeof info;
    info.flags = VFIO_DEVICE_FLAGS_PCI;
    std::memcpy(argument, &info, sizeof info);
    return 0;
  }
  if (request == VFIO_DEVICE_GET_IRQ_INFO) return tell_fake_interrupts(argument);
  if (request == VFIO_DEVICE_SET_IRQS) return set_fake_interrupts(argument);
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
  } else if (info.index == VFIO_PCI_BAR2_REGION_INDEX || info.index == VFIO_PCI_BAR3_REGION_INDEX) {
    info.size = fake_sparse_bar_size;
    info.offset = fake_sparse_bar;
    return tell_fake_areas(info, argument);
  } else if (info.index == VFIO_PCI_BAR4_REGION_INDEX) {
    info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    info.size = fake_sparse_bar_size;
    info.offset = fake_sparse_bar;
  }
  std::memcpy(argument, &info, sizeof info);
  return 0;
}

/// The arguments of a system call as a kernel gets them.
template <class... Arguments>
[[nodiscard]] std::array<std::uintptr_t, 8> in_words(Arguments... arguments) noexcept {
  std::array<std::uintptr_t, 8> words{};
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
