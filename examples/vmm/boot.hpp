// SPDX-License-Identifier: BSL-1.0
// Puts a Linux kernel and its initial file system into the guest's memory, as the 32-bit boot
// protocol wants them. Source: Documentation/arch/x86/boot.rst.
//
//     0x7000 boot_params   0x20000 command line   0xe0000 ACPI   1 MiB kernel ...   initrd | end
#pragma once

#include "acpi.hpp"
#include "sentence.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vmm {

/// What shall be booted.
struct boot_files {
  std::string kernel;
  std::string initrd;
  std::string command_line;
};

inline constexpr std::uint64_t boot_params_at = 0x7000;
inline constexpr std::uint64_t kernel_at = 0x100000;

namespace detail {

inline constexpr std::uint64_t command_line_at = 0x20000;
inline constexpr std::uint64_t acpi_at = 0xe0000;

[[nodiscard]] inline std::vector<char> contents_of(std::string const& path) {
  std::ifstream from{path, std::ios::binary};
  if (!from) throw cannot{"'" + path + "' cannot be read: " + std::strerror(errno)};
  return {std::istreambuf_iterator<char>{from}, {}};
}

template <class Number>
[[nodiscard]] Number number_at(std::vector<char> const& bytes, std::size_t offset) {
  Number number{};
  std::memcpy(&number, bytes.data() + offset, sizeof number);
  return number;
}

}  // namespace detail

/// Fills `ram`, which the guest sees from address 0 on.
/// Fails: throws `cannot` if a file cannot be read, is no bzImage, or does not fit.
inline void load_linux(std::span<std::byte> ram, boot_files const& files,
                       std::span<mmio_slot const> devices, std::uint32_t processors) {
  const auto kernel = detail::contents_of(files.kernel);
  constexpr std::size_t header = 0x1f1;
  if (kernel.size() < 0x1000 || detail::number_at<std::uint16_t>(kernel, 0x1fe) != 0xaa55 ||
      std::string_view{kernel.data() + 0x202, 4} != "HdrS") {
    throw cannot{"'" + files.kernel + "' is no bzImage: it has no Linux boot header"};
  }
  if (detail::number_at<std::uint16_t>(kernel, 0x206) < 0x20a || (kernel[0x211] & 1) == 0)
    throw cannot{"'" + files.kernel + "' is too old a kernel: boot protocol 2.10 is needed"};
  const std::size_t sectors = kernel[header] == 0 ? 4 : static_cast<unsigned char>(kernel[header]);
  const std::size_t setup = (sectors + 1) * 512;
  if (setup >= kernel.size()) throw cannot{"'" + files.kernel + "' is cut off"};
  const auto initrd = detail::contents_of(files.initrd);

  // the kernel unpacks itself from its preferred address on
  const std::uint64_t unpacked = detail::number_at<std::uint64_t>(kernel, 0x258) +
                                 detail::number_at<std::uint32_t>(kernel, 0x260);
  if (unpacked > ram.size() || ram.size() - unpacked < initrd.size() + 4 * KiB) {
    throw cannot{"the guest's memory (" + in_words(ram.size()) +
                 ") is too small for this kernel and initrd: they need " +
                 in_words((unpacked + initrd.size()) / MiB * MiB + 2 * MiB)};
  }
  const std::uint64_t initrd_at = (ram.size() - initrd.size()) / (4 * KiB) * (4 * KiB);
  const auto put = [&](std::uint64_t at, void const* from, std::size_t bytes) {
    std::memcpy(ram.data() + at, from, bytes);
  };
  const auto put_number = [&](std::uint64_t at, auto number) { put(at, &number, sizeof number); };

  put(kernel_at, kernel.data() + setup, kernel.size() - setup);
  put(initrd_at, initrd.data(), initrd.size());
  const std::string line = files.command_line.substr(0, 2047);
  put(detail::command_line_at, line.c_str(), line.size() + 1);
  write_acpi_tables(ram.subspan(detail::acpi_at, 4 * KiB), detail::acpi_at, devices, processors);

  std::ranges::fill(ram.subspan(boot_params_at, 4 * KiB), std::byte{0});
  const std::size_t header_end = 0x202U + static_cast<unsigned char>(kernel[0x201]);
  put(boot_params_at + header, kernel.data() + header, header_end - header);
  put_number(boot_params_at + 0x070, std::uint64_t{detail::acpi_at});
  put_number(boot_params_at + 0x210, std::uint8_t{0xff});  // a loader without a number
  put_number(boot_params_at + 0x218, static_cast<std::uint32_t>(initrd_at));
  put_number(boot_params_at + 0x21c, static_cast<std::uint32_t>(initrd.size()));
  put_number(boot_params_at + 0x228, static_cast<std::uint32_t>(detail::command_line_at));

  struct range {
    std::uint64_t first;
    std::uint64_t bytes;
    std::uint32_t kind;  // 1: memory, 2: reserved
  };
  const range map[] = {{0, 0x9fc00, 1},
                       {detail::acpi_at, kernel_at - detail::acpi_at, 2},
                       {kernel_at, ram.size() - kernel_at, 1}};
  std::uint64_t entry = boot_params_at + 0x2d0;
  for (range const& one : map) {
    put_number(entry, one.first);
    put_number(entry + 8, one.bytes);
    put_number(entry + 16, one.kind);
    entry += 20;
  }
  put_number(boot_params_at + 0x1e8, static_cast<std::uint8_t>(std::size(map)));
}

}  // namespace vmm
