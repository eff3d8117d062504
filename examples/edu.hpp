// SPDX-License-Identifier: BSL-1.0
// A driver for QEMU's `edu` device: a PCI device made for teaching, with a DMA engine that goes
// through the IOMMU. It copies between memory and an internal buffer that nothing else can reach,
// so bytes go in and out through a mailbox: memory at an I/O address that both sides know.
//
//     dma_write:  bytes -> mailbox -load-> buffer -store-> memory
//     dma_read:   memory -load-> buffer -store-> mailbox -> bytes
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/error.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace edu {

/// A transfer takes the device 100 ms, and it can move one byte less than its buffer of 4 KiB at
/// once.
inline constexpr std::uint64_t most = 4095;
/// Its DMA addresses have 28 bits.
inline constexpr std::uint64_t reach = std::uint64_t{1} << 28;

/// The PCI addresses of the edu devices that are bound to vfio-pci, sorted.
inline std::vector<std::string> devices() {
  std::vector<std::string> found;
  std::error_code ignored;
  for (auto const& entry :
       std::filesystem::directory_iterator{"/sys/bus/pci/drivers/vfio-pci", ignored}) {
    std::string vendor;
    std::string device;
    std::ifstream{entry.path() / "vendor"} >> vendor;
    std::ifstream{entry.path() / "device"} >> device;
    if (vendor == "0x1234" && device == "0x11e8") found.push_back(entry.path().filename().string());
  }
  std::ranges::sort(found);
  return found;
}

/// The DMA engine of an open device. `Device`: what a backend opens; its registers are mapped as
/// long as this lives. Models `tether::dma_engine`, except that only the IOMMU knows what it
/// refused: the device reports success either way.
template <class Device>
class engine {
 public:
  using view = typename decltype(std::declval<Device&>().map_bar(0))::value_type;

  /// `mailbox` is mapped at `mailbox_at` for the device to read and write, below 256 MiB, and has
  /// room for 4 KiB.
  static tether::result<engine> start(Device& device, std::byte* mailbox,
                                      tether::io_address mailbox_at) {
    if (auto on = device.enable_bus_mastering(); !on) return tether::failure(on.error());
    auto registers = device.map_bar(0);
    if (!registers) return tether::failure(registers.error());
    if ((registers->template read<std::uint32_t>(0) & 0xffff) != 0x00ed) {
      return tether::failure(
          tether::error{"start edu", tether::errc::no_such_device}.of(device.name()));
    }
    return engine{std::move(*registers), mailbox, mailbox_at};
  }

  /// The device copies memory into its buffer, or its buffer into memory. Requires: bytes <= most.
  void load(tether::io_address from, std::uint64_t bytes) {
    transfer(from.value, buffer, bytes, start_bit);
  }
  void store(tether::io_address to, std::uint64_t bytes) {
    transfer(buffer, to.value, bytes, start_bit | to_memory_bit);
  }

  tether::result<void> dma_write(tether::io_address at, std::span<std::byte const> from) {
    for (std::uint64_t done = 0; done < from.size();) {
      const auto now = std::min(most, from.size() - done);
      std::memcpy(mailbox_, from.data() + done, now);
      load(mailbox_at_, now);
      store(at + done, now);
      done += now;
    }
    return {};
  }
  tether::result<void> dma_read(tether::io_address at, std::span<std::byte> into) {
    for (std::uint64_t done = 0; done < into.size();) {
      const auto now = std::min(most, into.size() - done);
      load(at + done, now);
      store(mailbox_at_, now);
      std::memcpy(into.data() + done, mailbox_, now);
      done += now;
    }
    return {};
  }

 private:
  static constexpr std::uint64_t buffer = 0x40000;
  static constexpr std::uint64_t start_bit = 1;
  static constexpr std::uint64_t to_memory_bit = 2;

  engine(view registers, std::byte* mailbox, tether::io_address mailbox_at)
      : registers_{std::move(registers)}, mailbox_{mailbox}, mailbox_at_{mailbox_at} {}

  void transfer(std::uint64_t source, std::uint64_t destination, std::uint64_t bytes,
                std::uint64_t command) {
    registers_.template write<std::uint64_t>(0x80, source);
    registers_.template write<std::uint64_t>(0x88, destination);
    registers_.template write<std::uint64_t>(0x90, bytes);
    registers_.template write<std::uint64_t>(0x98, command);
    while ((registers_.template read<std::uint64_t>(0x98) & start_bit) != 0)
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }

  view registers_;
  std::byte* mailbox_;
  tether::io_address mailbox_at_;
};

}  // namespace edu
