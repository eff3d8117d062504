// SPDX-License-Identifier: BSL-1.0
// What every case needs inside the machine: frames of pages, the kernel's log, and a small guest with a real device.
//
//     guest physical    0 [ ram: 2 MiB, private ]   ...   128 MiB [ mailbox: 4 KiB, shared: never discarded ]
#pragma once

#include <edu.hpp>
#include <support/must.hpp>

#include <tether/tether.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <sys/klog.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace in_machine {

using namespace tether;
using tether_test::must;

inline constexpr std::uint64_t page = 4 * KiB;
inline constexpr std::uint64_t mailbox_at = 128 * MiB;

/// The frame behind each page of [at, at + bytes): 0 where there is none.
inline std::vector<std::uint64_t> frames_behind(std::byte const* at, std::uint64_t bytes) {
  std::vector<std::uint64_t> entries(bytes / page);
  const int pagemap = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  REQUIRE(pagemap >= 0);
  const auto offset = static_cast<off_t>(reinterpret_cast<std::uintptr_t>(at) / page * sizeof(std::uint64_t));
  const auto size = entries.size() * sizeof(std::uint64_t);
  REQUIRE(::pread(pagemap, entries.data(), size, offset) == static_cast<ssize_t>(size));
  ::close(pagemap);
  constexpr std::uint64_t present = std::uint64_t{1} << 63;
  constexpr std::uint64_t number = (std::uint64_t{1} << 55) - 1;
  for (auto& entry : entries) entry = (entry & present) != 0 ? entry & number : 0;
  return entries;
}
inline std::vector<std::uint64_t> frames_behind(ram_block const& block) { return frames_behind(block.data(), block.size()); }

/// All that the kernel has logged.
inline std::string kernel_log() {
  std::string text(1U << 20, '\0');
  const int got = ::klogctl(3, text.data(), static_cast<int>(text.size()));
  text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  return text;
}

/// A pattern that says where it belongs and when it was written; no byte is zero.
inline std::vector<std::byte> pattern(std::uint64_t place, unsigned turn, std::uint64_t bytes) {
  std::vector<std::byte> all(bytes);
  for (std::uint64_t i = 0; i < bytes; ++i) all[i] = static_cast<std::byte>(1 + (place * 31 + turn * 17 + i * 7 + i / 251) % 255);
  return all;
}

inline std::vector<std::uint32_t> frame_numbers(std::uint32_t first, std::uint32_t count) {
  std::vector<std::uint32_t> all(count);
  for (std::uint32_t i = 0; i < count; ++i) all[i] = first + i;
  return all;
}

/// The machine's n-th edu device.
inline std::string edu_address(std::size_t n = 0) {
  const auto all = edu::devices();
  REQUIRE(all.size() > n);
  return all[n];
}
inline vfio_group group_of(std::string const& address) { return must(vfio_group::of(address)); }

using engine = edu::engine<vfio_device>;

/// A guest and one container over VFIO's type1.
template <class... Policies>
struct vm {
  using container_type = container<vfio_type1, Policies...>;

  explicit vm(std::uint64_t size = 2 * MiB) : ram{must(ram_block::allocate("ram", size))} {
    ram_region = must(guest.place(region::ram(ram), guest_address{0}));
    static_cast<void>(must(guest.place(region::ram(mailbox), guest_address{mailbox_at})));
  }
  [[nodiscard]] engine drive(vfio_device& device) { return must(engine::start(device, mailbox.data(), io_address{mailbox_at})); }
  [[nodiscard]] std::span<std::byte> at(std::uint64_t offset, std::uint64_t bytes) const { return {ram.data() + offset, bytes}; }

  ram_block ram;
  ram_block mailbox = must(ram_block::allocate("mailbox", page, memory_kind::shared));
  address_space guest;
  discard_gate<> gate;
  tether::balloon<> balloon{guest, gate};
  container_type dma{guest, gate};
  region_id ram_region{};
};

}  // namespace in_machine
